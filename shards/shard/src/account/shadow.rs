//! Imported streams: a subscription has a shadow in each account whose messages it gets too.
//!
//! A shadow is a subscription in the exporter's table like any other: peers hear of it, plans hold
//! it, queue groups count it. Only its messages are handed over under the importer's subject.

use std::rc::Rc;

use subject::{covers, has_wildcard};

use super::StreamImport;
use crate::effect::Effects;
use crate::router::Publication;
use crate::session::guard::Watch;
use crate::shard::Shard;
use crate::sid::SubId;
use crate::stall::Publisher;
use crate::subscription::Subscription;
use crate::targets::{Imported, Target};

impl StreamImport {
    /// The pattern that a subscription to `pattern` here needs there; none if it gets nothing.
    fn pattern_there(&self, pattern: &[u8]) -> Option<Vec<u8>> {
        if *pattern == *self.to || (has_wildcard(pattern) && covers(pattern, &self.to)) {
            return Some(self.from.to_vec());
        }
        let common = if covers(&self.to, pattern) {
            pattern.to_vec()
        } else if has_wildcard(pattern) {
            overlap(pattern, &self.to)?
        } else {
            return None;
        };
        match &self.reverse {
            Some(reverse) => Some(reverse.applied(&common)),
            None => Some(common),
        }
    }

    /// The subject under which a message on `subject` there is delivered here.
    pub(crate) fn subject_here<'a>(
        &'a self,
        subject: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        match &self.transform {
            Some(transform) => {
                scratch.clear();
                transform.apply(subject, &mut || 0, scratch);
                scratch
            }
            None if self.keeps_subject => subject,
            None => &self.to,
        }
    }
}

/// What both patterns match, if `pattern` can be made narrower so that `wide` covers it.
fn overlap(pattern: &[u8], wide: &[u8]) -> Option<Vec<u8>> {
    let wide_tokens: Vec<&[u8]> = wide.split(|b| *b == b'.').collect();
    let mut tokens: Vec<&[u8]> = pattern.split(|b| *b == b'.').collect();
    for (token, wide) in tokens.iter_mut().zip(&wide_tokens) {
        if *token == b"*" && *wide != b">" {
            *token = wide;
        }
    }
    let last = tokens.len() - 1;
    if tokens[last] == b">" && wide_tokens.len() > last {
        tokens.truncate(last);
        tokens.extend_from_slice(&wide_tokens[last..]);
    }
    let common = tokens.join(&b'.');
    covers(wide, &common).then_some(common)
}

impl Shard {
    /// Gives a new subscription its shadows.
    pub(crate) fn cast_shadows(&mut self, sub: SubId) {
        let subscription = self.subs.peek(sub);
        let account = &self.accounts[subscription.account.0 as usize];
        let Some(ties) = account.ties.as_ref().filter(|ties| !ties.streams.is_empty()) else {
            return;
        };
        let ties = ties.clone();
        let pattern = account.pattern(subscription.pattern).to_vec();
        let mut shadows = Vec::new();
        for import in &ties.streams {
            if let Some(there) = import.pattern_there(&pattern)
                && subject::well_formed(&there)
            {
                shadows.push(self.cast_shadow(sub, import, &there));
            }
        }
        if !shadows.is_empty() {
            self.shadows.insert(sub, shadows);
        }
    }

    fn cast_shadow(&mut self, sub: SubId, import: &Rc<StreamImport>, there: &[u8]) -> SubId {
        let subscription = self.subs.peek(sub);
        let (conn, sid) = (subscription.conn, subscription.sid.clone());
        let (guarded, filtered) = (subscription.guarded, subscription.filtered);
        let queue = subscription.queue().cloned();
        let table = &mut self.accounts[import.account.0 as usize];
        let pattern = table.intern(there);
        let mut shadow = Subscription::new(conn, sid, import.account, pattern, queue);
        shadow.set_import(import.clone());
        (shadow.guarded, shadow.filtered) = (guarded, filtered);
        let shadow = self.subs.insert(shadow);
        table.join(shadow, &mut self.subs);
        shadow
    }

    /// Other streams are imported than when this subscription was made: its shadows are others.
    pub(crate) fn recast_shadows(&mut self, sub: SubId, out: &mut Effects) {
        let account = self.subs.peek(sub).account;
        if !self.accounts[account.0 as usize].recasts {
            return;
        }
        for shadow in self.take_shadows(sub) {
            self.end_shadow(shadow, out);
        }
        self.cast_shadows(sub);
    }

    /// A queue member's shadow takes what is under way, as the member does.
    pub(crate) fn end_shadow(&mut self, shadow: SubId, out: &mut Effects) {
        match self.subs.peek(shadow).queue() {
            Some(_) => self.leave(shadow, out),
            None => self.drop_subscription(shadow),
        }
    }

    /// What shadows get is looked at one by one if what their subscription gets is.
    pub(crate) fn guard_shadows(&mut self, sub: SubId, watch: Watch) {
        for shadow in self.shadows.get(&sub).cloned().unwrap_or_default() {
            let account = self.subs.peek(shadow).account;
            self.accounts[account.0 as usize].guard(shadow, watch, &mut self.subs);
        }
    }

    /// The shadows of a subscription that ends; they are the caller's to end.
    #[inline]
    pub(crate) fn take_shadows(&mut self, sub: SubId) -> Vec<SubId> {
        match self.shadows.is_empty() {
            true => Vec::new(),
            false => self.shadows.remove(&sub).unwrap_or_default(),
        }
    }

    /// Delivers to shadows. False if nobody got it.
    #[inline(never)]
    pub(crate) fn deliver_imported(
        &mut self,
        imported: &[Imported],
        publication: &Publication<'_>,
        publisher: Publisher,
        echo: bool,
        out: &mut Effects,
    ) -> bool {
        if publication.from_service {
            return false;
        }
        let mut delivered = false;
        let mut scratch = std::mem::take(&mut self.import_scratch);
        for Imported { import, targets } in imported {
            let subject = import.subject_here(publication.subject, &mut scratch);
            let imported = Publication { subject, ..*publication };
            let targets = std::slice::from_ref(targets);
            delivered |= self.deliver_to_locals(targets, &imported, publisher, echo, out);
        }
        self.import_scratch = scratch;
        delivered
    }

    /// Delivers to one shadow. False if it can't have it.
    #[inline(never)]
    pub(crate) fn deliver_to_shadow(
        &mut self,
        target: &Target,
        publication: &Publication<'_>,
        publisher: Publisher,
        out: &mut Effects,
    ) -> bool {
        let Some(import) = self.subs.peek(target.sub).import().cloned() else { return false };
        if publication.from_service {
            return false;
        }
        let mut scratch = std::mem::take(&mut self.import_scratch);
        let subject = import.subject_here(publication.subject, &mut scratch);
        let imported = Publication { subject, ..*publication };
        let delivered = self.deliver(target, &imported, publisher, out);
        self.import_scratch = scratch;
        delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;
    use subject::{Transform, tokenize, untokenize};

    fn import(from: &str, to: &str) -> StreamImport {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        let keeps_subject = has_wildcard(from) && from == to;
        let transform = (has_wildcard(from) && !keeps_subject)
            .then(|| Transform::strict(from, &tokenize(to)).expect("valid"));
        StreamImport {
            account: AccountId(1),
            from: from.into(),
            to: if transform.is_some() { untokenize(to).0.into() } else { to.into() },
            reverse: transform.as_ref().and_then(Transform::reverse),
            transform,
            keeps_subject,
        }
    }

    #[test]
    fn a_subscription_asks_there_for_what_it_could_get_here() {
        for (from, to, pattern, there) in [
            ("foo.>", "foo.>", ">", "foo.>"),
            ("foo.>", "foo.>", "foo.bar", "foo.bar"),
            ("foo.>", "foo.>", "bar", ""),
            ("foo.>", "foo.>", "*.bar", "foo.bar"),
            ("foo.*", "p.foo.*", "p.>", "foo.*"),
            ("foo.*", "p.foo.*", "p.foo.a", "foo.a"),
            ("foo.*", "p.foo.*", "p.*.a", "foo.a"),
            ("foo.*.*", "bar.$2.$1", "bar.x.*", "foo.*.x"),
            ("foo", "bar", "bar", "foo"),
            ("foo", "bar", "*", "foo"),
            ("foo", "bar", "foo", ""),
            ("a.*.c", "a.*.c", "a.b.>", "a.b.c"),
        ] {
            let got = import(from, to).pattern_there(pattern.as_bytes()).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&got), there, "{from} as {to} for {pattern}");
        }
    }
}
