//! How a worker comes by its connections: of every kind, each thread has its share.

use super::{Role, Worker};
use crate::load::churner::Churner;
use crate::load::dial::{Greeting, dial};
use crate::load::lane::Lane;
use crate::load::protocol::Protocol;
use crate::load::publisher::Publisher;
use crate::load::request::{Requester, Responder, SERVICE, reply_subject};
use crate::load::stream::Stream;
use crate::load::subscriber::Subscriber;
use crate::plan::Plan;
use crate::scenario::Churn;

/// Connections being made at a time, by each thread.
const DIALS: usize = 64;

impl Worker<'_> {
    fn mine(&self, count: usize) -> Vec<usize> {
        (0..count).filter(|i| i % self.job.threads == self.id).collect()
    }

    fn dial(&mut self, said: &[String]) -> Result<Vec<Stream>, String> {
        let greetings: Vec<Greeting> =
            said.iter().map(|text| self.job.door.protocol.greeting(text)).collect();
        dial(self.job.door, &greetings, DIALS, |_| {})
    }

    fn lane(&mut self, stream: Stream, role: Role) -> Result<Lane, String> {
        self.roles.push(role);
        Lane::new(stream, self.roles.len() - 1, &self.epoll).map_err(|e| e.to_string())
    }

    pub(super) fn join_plan(&mut self, plan: &Plan) -> Result<(), String> {
        let mine = self.mine(plan.subscribers.len());
        let said: Vec<String> =
            mine.iter().map(|&i| subscriptions(plan, i, self.job.door.protocol)).collect();
        for (stream, &i) in self.dial(&said)?.into_iter().zip(&mine) {
            if plan.subscribers[i].stuck {
                let lane = self.lane(stream, Role::Stuck)?;
                self.epoll.remove(&lane.stream);
                self.stuck.push(lane);
            } else {
                let place = self.subscribers.len();
                let lane = self.lane(stream, Role::Subscriber(place))?;
                if let Some(publisher) = plan.subscribers[i].source {
                    self.pacers[publisher].get_or_insert(place);
                }
                self.subscribers.push(Subscriber::new(lane, i, plan, self.job.door.protocol));
            }
        }
        if let Some(churn) = &self.job.scenario.churn {
            self.join_churn(churn)?;
        }
        let mine = self.mine(plan.publishers.len());
        let said = vec![String::new(); mine.len()];
        for (stream, &i) in self.dial(&said)?.into_iter().zip(&mine) {
            let place = self.publishers.len();
            let lane = self.lane(stream, Role::Publisher(place))?;
            self.publishers.push(Publisher::new(lane, i, plan, self.job.door.protocol));
            self.places[i] = Some(place);
        }
        Ok(())
    }

    fn join_churn(&mut self, churn: &Churn) -> Result<(), String> {
        let mine = self.mine(churn.connections);
        let said = vec![String::new(); mine.len()];
        for (stream, &i) in self.dial(&said)?.into_iter().zip(&mine) {
            let lane = self.lane(stream, Role::Churner(self.churners.len()))?;
            self.churners.push(Churner::new(lane, i, &churn.subject, churn.kept));
        }
        Ok(())
    }

    pub(super) fn join_requests(&mut self) -> Result<(), String> {
        let scenario = self.job.scenario;
        let Some(request) = &scenario.request else { return Ok(()) };
        let group = if request.responders > 1 { " responders" } else { "" };
        let said = vec![format!("SUB {SERVICE}{group} 1\r\n"); self.mine(request.responders).len()];
        for stream in self.dial(&said)? {
            let lane = self.lane(stream, Role::Responder(self.responders.len()))?;
            self.responders.push(Responder::new(lane));
        }
        let mine = self.mine(request.requesters);
        let said: Vec<String> =
            mine.iter().map(|&i| format!("SUB {} 1\r\n", reply_subject(i))).collect();
        for (stream, &i) in self.dial(&said)?.into_iter().zip(&mine) {
            let lane = self.lane(stream, Role::Requester(self.requesters.len()))?;
            self.requesters.push(Requester::new(lane, i, scenario.payload));
        }
        Ok(())
    }
}

fn subscriptions(plan: &Plan, index: usize, protocol: Protocol) -> String {
    let subscriber = &plan.subscribers[index];
    let lines = subscriber.patterns.iter().zip(subscriber.first_sid..);
    lines
        .map(|(pattern, sid)| protocol.subscribe(pattern, subscriber.queue.as_deref(), sid))
        .collect()
}
