//! Reports that everybody who looks at the same time shares, so that a page open on twenty screens
//! asks the shards no more often than one does.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::sync::Semaphore;
use glommio::timer;
use shard::report::Report;

/// How old reports may be that another viewer has asked for.
const FRESH: Duration = Duration::from_millis(500);
/// Reports of many connections are large: nobody having looked for so long, they are let go.
const KEPT: Duration = Duration::from_secs(2);

/// The last reports of one kind. Lives on the executor of monitoring.
pub(crate) struct Glance {
    /// Held while the shards are asked: whoever comes meanwhile waits for the same answer.
    asking: Semaphore,
    last: RefCell<Option<(Instant, Rc<Vec<Report>>)>>,
    /// Its reports will be let go by a task under way.
    leaving: Cell<bool>,
}

impl Glance {
    pub fn new() -> Rc<Glance> {
        let (last, leaving) = (RefCell::new(None), Cell::new(false));
        Rc::new(Glance { asking: Semaphore::new(1), last, leaving })
    }

    /// Fresh reports: the last ones, or what `ask` gets. None if it gets none.
    pub async fn look(
        self: &Rc<Glance>,
        ask: impl Future<Output = Option<Vec<Report>>>,
    ) -> Option<Rc<Vec<Report>>> {
        let _permit = self.asking.acquire_permit(1).await.ok()?;
        if let Some((at, reports)) = &*self.last.borrow()
            && at.elapsed() < FRESH
        {
            return Some(Rc::clone(reports));
        }
        let reports = Rc::new(ask.await?);
        *self.last.borrow_mut() = Some((Instant::now(), Rc::clone(&reports)));
        if !self.leaving.replace(true) {
            glommio::spawn_local(Rc::clone(self).let_go()).detach();
        }
        Some(reports)
    }

    async fn let_go(self: Rc<Glance>) {
        loop {
            timer::sleep(KEPT).await;
            let mut last = self.last.borrow_mut();
            if last.as_ref().is_none_or(|(at, _)| at.elapsed() >= KEPT) {
                *last = None;
                self.leaving.set(false);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor;

    #[test]
    fn viewers_at_the_same_time_share_one_answer() {
        let handle = executor::builder("glance", None).spawn(|| async {
            let glance = Glance::new();
            let asked = Rc::new(Cell::new(0));
            let look = || {
                let (glance, asked) = (Rc::clone(&glance), Rc::clone(&asked));
                glommio::spawn_local(async move {
                    let ask = async {
                        asked.set(asked.get() + 1);
                        glommio::yield_if_needed().await;
                        timer::sleep(Duration::from_millis(20)).await;
                        Some(Vec::new())
                    };
                    glance.look(ask).await.is_some()
                })
            };
            let viewers: Vec<_> = (0..20).map(|_| look()).collect();
            for viewer in viewers {
                assert!(viewer.await);
            }
            assert_eq!(asked.get(), 1);
            timer::sleep(FRESH).await;
            assert!(look().await);
            assert_eq!(asked.get(), 2, "what is not fresh is asked anew");
            timer::sleep(2 * KEPT).await;
            assert!(glance.last.borrow().is_none(), "nothing is kept for nobody");
        });
        handle.expect("an executor").join().expect("it ends well");
    }
}
