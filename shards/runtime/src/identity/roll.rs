//! The accounts whose tokens are known, and what shards are to make of all of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use claims::{Account, Export, ExportKind, Import, Sampling, SigningKey, Trust};
use shard::AccountId;
use shard::access::{Access, AccountPapers, Terms};
use shard::account::{
    Agreements, Export as Offer, Latency, Limits, Mapping, Mappings, ResponseType, ServiceTerms,
    Ties,
};

use super::desk::SECOND_NS;
use super::rights::{limit, permissions};

/// Accounts by their public keys.
#[derive(Debug, Default)]
pub struct Roll {
    held: BTreeMap<String, Held>,
    /// No account's time is over before, and no activation's.
    next_s: Option<i64>,
}

/// One account.
#[derive(Debug)]
pub struct Held {
    /// What its token says.
    pub account: Account,
    /// When it was fetched, seconds since 1970.
    pub fetched_s: i64,
    /// Made once of the token.
    terms: Arc<Terms>,
    /// When its activations end, seconds since 1970.
    ends: Vec<i64>,
}

impl Held {
    fn new(account: Account, token: &str, now_s: i64) -> Held {
        // The second in which it ends is not within it.
        let end = account.claims.expires_s;
        let since_unix_ns = u64::try_from(now_s).unwrap_or(0).saturating_mul(SECOND_NS);
        let papers = Arc::new(AccountPapers { text: token.into(), since_unix_ns });
        let terms = Arc::new(terms(&account, papers, end != 0 && end <= now_s));
        let activations = account.imports().iter().filter_map(Import::activation);
        let ends = activations.map(|it| it.claims.expires_s).filter(|end| *end > now_s).collect();
        Held { account, fetched_s: now_s, terms, ends }
    }

    /// The token itself.
    pub fn token(&self) -> &str {
        &self.terms.papers.text
    }

    /// Its time is over.
    pub fn has_expired(&self) -> bool {
        self.terms.has_expired
    }

    /// When its time, or that of one of its activations, is over.
    fn next_s(&self) -> Option<i64> {
        let end = Some(self.account.claims.expires_s);
        let end = end.filter(|end| *end > 0 && !self.has_expired());
        end.into_iter().chain(self.ends.iter().copied()).min()
    }
}

impl Roll {
    /// The account of this key.
    pub fn find(&self, key: &str) -> Option<&Held> {
        self.held.get(key)
    }

    /// All keys.
    pub fn keys(&self) -> BTreeSet<String> {
        self.held.keys().cloned().collect()
    }

    /// Holds an account, or another token of one. False if it is the same token.
    pub fn put(&mut self, account: Account, token: String, now_s: i64) -> bool {
        let key = account.claims.subject.clone();
        if let Some(known) = self.held.get_mut(&key)
            && known.token() == token
            && !known.has_expired()
        {
            known.fetched_s = now_s;
            return false;
        }
        let held = Held::new(account, &token, now_s);
        self.next_s = self.next_s.into_iter().chain(held.next_s()).min();
        self.held.insert(key, held);
        true
    }

    /// Forgets an account.
    pub fn take(&mut self, key: &str) {
        self.held.remove(key);
    }

    /// Users of those accounts that this says, and of no others, must not be here.
    pub fn bar(&mut self, is_barred: impl Fn(&str) -> bool) {
        for (key, held) in &mut self.held {
            let is_barred = is_barred(key);
            if held.terms.is_barred != is_barred {
                held.terms = Arc::new(Terms { is_barred, ..(*held.terms).clone() });
            }
        }
    }

    /// No account's time is over before, and no activation's; seconds since 1970. None if they have
    /// no end.
    pub fn next_expiry_s(&self) -> Option<i64> {
        self.next_s
    }

    /// Marks accounts whose time is over. False if there is none, and no activation either.
    pub fn expire(&mut self, now_s: i64) -> bool {
        if self.next_s.is_none_or(|next| next > now_s) {
            return false;
        }
        let mut any = false;
        for held in self.held.values_mut() {
            let before = held.ends.len();
            held.ends.retain(|end| *end > now_s);
            any |= held.ends.len() < before;
        }
        for held in self.held.values_mut().filter(|held| !held.has_expired()) {
            let end = held.account.claims.expires_s;
            if end != 0 && end <= now_s {
                let papers = Arc::clone(&held.terms.papers);
                held.terms = Arc::new(terms(&held.account, papers, true));
                any = true;
            }
        }
        self.next_s = self.held.values().filter_map(Held::next_s).min();
        any
    }

    /// `before` with all held accounts as their tokens say now. Those with tokens that are held no
    /// longer are gone.
    pub fn enter(&self, before: &Access, trust: &Trust, now_s: i64) -> Access {
        let mut access = before.clone();
        for (at, account) in before.accounts().iter().enumerate() {
            let key = &*account.name;
            if account.terms.is_some() && !account.is_gone && !self.held.contains_key(key) {
                access.end_account(AccountId(at as u32));
            }
        }
        let mut all: Vec<(AccountId, &Held)> =
            self.held.iter().map(|(key, held)| (access.account(key), held)).collect();
        all.sort_by_key(|(id, _)| *id);
        let mut ties = self.agree(&access, &all, trust, now_s);
        for (id, held) in all {
            let ties = std::mem::take(&mut ties[id.0 as usize]);
            let ties = Ties { mappings: mappings(&held.account), ..ties };
            let limits = held.account.limits();
            let limits = Limits {
                subscriptions_max: limit(limits.subscriptions_max),
                payload_max: limit(limits.payload_max),
                connections_max: limit(limits.connections_max),
            };
            access.set_account(id, ties, limits, held.terms.clone());
        }
        access
    }

    /// What accounts have agreed with each other. What can't be is left out, as nats-server does.
    fn agree(
        &self,
        access: &Access,
        all: &[(AccountId, &Held)],
        trust: &Trust,
        now_s: i64,
    ) -> Vec<Ties> {
        let mut agreements = Agreements::new(access.accounts().iter().map(|it| &*it.name));
        for (id, held) in all {
            for export in held.account.exports() {
                if let Err(why) = add_export(&mut agreements, *id, export) {
                    let key = &held.account.claims.subject;
                    log::debug!("Export {:?} of account {key} left out: {why}", export.subject);
                }
            }
        }
        let mut lacking = BTreeSet::new();
        for (id, held) in all {
            for import in held.account.imports() {
                let made =
                    self.add_import(&mut agreements, (*id, held), import, access, trust, now_s);
                if let Err(why) = made {
                    let key = &held.account.claims.subject;
                    log::debug!("Import {:?} of account {key} left out: {why}", import.subject);
                    lacking.insert(*id);
                }
            }
        }
        let mut ties = agreements.into_ties();
        for (id, held) in all {
            let ties = &mut ties[id.0 as usize];
            ties.lacks_imports = lacking.contains(id);
            tell_tokens(&mut ties.exports, held.account.exports());
        }
        ties
    }

    fn add_import(
        &self,
        agreements: &mut Agreements,
        (id, held): (AccountId, &Held),
        import: &Import,
        access: &Access,
        trust: &Trust,
        now_s: i64,
    ) -> Result<(), String> {
        let exporter = self.held.get(&import.account).ok_or("its account is not known")?;
        let there = access.find_account(&import.account).ok_or("its account is not known")?;
        let key = &held.account.claims.subject;
        if !trust.lets_import(&exporter.account, key, import, now_s) {
            return Err("not authorized".to_string());
        }
        let subject = import.subject.as_bytes();
        let made = match import.kind {
            ExportKind::Service => {
                let (here, asked) = import.service_subjects();
                agreements.import_service(
                    id,
                    there,
                    here.as_bytes(),
                    asked.as_bytes(),
                    import.share,
                )
            }
            _ if !import.local_subject.is_empty() => {
                agreements.import_stream(id, there, subject, import.local_subject.as_bytes())
            }
            _ => agreements.import_stream_under(id, there, subject, import.to.as_bytes()),
        };
        made.map_err(|why| why.to_string())
    }
}

fn add_export(agreements: &mut Agreements, id: AccountId, export: &Export) -> Result<(), String> {
    let (subject, position) = (export.subject.as_bytes(), export.account_token_position as usize);
    // Whom a token is asked of is decided import by import.
    let made = match export.kind {
        ExportKind::Service => {
            let threshold = u64::try_from(export.response_threshold).ok().filter(|ns| *ns > 0);
            let terms = ServiceTerms {
                response: match export.response_type.as_str() {
                    "Stream" => ResponseType::Stream,
                    "Chunked" => ResponseType::Chunked,
                    _ => ResponseType::Singleton,
                },
                threshold_ns: threshold,
                latency: export.latency.as_ref().map(|latency| Latency {
                    sampling: match latency.sampling {
                        Sampling::Headers => 0,
                        Sampling::Percent(percent) => u8::try_from(percent).unwrap_or(100),
                    },
                    subject: latency.results.as_bytes().into(),
                }),
            };
            let plain = ServiceTerms { latency: None, ..terms.clone() };
            agreements
                .export_service(id, subject, &[], position, terms)
                .or_else(|_| agreements.export_service(id, subject, &[], position, plain))
        }
        _ => agreements.export_stream(id, subject, &[], position),
    };
    made.map_err(|why| why.to_string())
}

/// What exports ask of whoever imports them.
fn tell_tokens(exports: &mut [Offer], said: &[Export]) {
    for export in exports {
        let is_service = export.service.is_some();
        let said = said.iter().rev().find(|said| {
            (said.kind == ExportKind::Service) == is_service
                && said.subject.as_bytes() == &*export.subject
        });
        let Some(said) = said else { continue };
        let revoked = said.revocations.iter();
        export.needs_token = said.token_req;
        export.revoked = revoked.map(|(key, until)| (key.as_str().into(), *until)).collect();
    }
}

fn mappings(account: &Account) -> Mappings {
    let mut mappings = Mappings::default();
    for (source, to) in account.mappings() {
        // Destinations in other clusters are none here.
        let here = to.iter().filter(|to| to.cluster.is_empty());
        let here: Vec<_> = here.map(|to| (to.subject.as_bytes().to_vec(), to.weight())).collect();
        match Mapping::new(source.as_bytes(), &here) {
            Ok(mapping) => mappings.add(mapping),
            Err(why) => {
                let key = &account.claims.subject;
                log::error!("Error adding subject mapping {source:?} for account [{key}]: {why}");
            }
        }
    }
    mappings
}

fn terms(account: &Account, papers: Arc<AccountPapers>, has_expired: bool) -> Terms {
    Terms {
        revoked: account
            .revocations()
            .iter()
            .map(|(key, until)| (key.as_str().into(), *until))
            .collect(),
        signing_keys: account
            .signing_keys()
            .iter()
            .map(|known| (known.key().into(), fingerprint(known)))
            .collect(),
        no_bearer: account.limits().no_bearer,
        is_barred: false,
        default_permissions: permissions(account.default_permissions()),
        has_expired,
        name: account.claims.name.as_str().into(),
        papers,
    }
}

/// Differs where roles differ.
pub fn fingerprint(known: &SigningKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let SigningKey::Scoped(scope) = known {
        format!("{:?}", scope.template).hash(&mut hasher);
    }
    hasher.finish()
}
