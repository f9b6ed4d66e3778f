//! Exports and imports fitted together: who may import what, and nothing in circles. The rules and
//! the words are nats-server's.

use std::collections::BTreeSet;
use std::fmt;

use subject::{Transform, TransformError, collide, covers, has_wildcard, tokenize, untokenize};

use super::{
    Export, Latency, RESPONSE_THRESHOLD, ResponseType, ServiceExport, ServiceId, ServiceImport,
    StreamImport, Ties,
};
use crate::ids::{AccountId, Nanos};

/// Accounts deep that a circle is looked for.
const SEARCH_DEPTH_MAX: usize = 1024;

/// Exports and imports of all accounts. Give all exports first.
#[derive(Debug, Default)]
pub struct Agreements {
    accounts: Vec<Party>,
    /// Services exported so far.
    services: u32,
}

#[derive(Debug, Default)]
struct Party {
    name: String,
    stream_exports: Vec<(Vec<u8>, Consent)>,
    service_exports: Vec<(Vec<u8>, Consent, ServiceExport)>,
    streams: Vec<StreamImport>,
    services: Vec<ServiceImport>,
}

/// Who may import.
#[derive(Clone, Debug, Default)]
struct Consent {
    /// None: everybody.
    accounts: Vec<AccountId>,
    /// The token of the subject, from 1, that must be the importer's name; 0 is none.
    token_position: usize,
}

/// What a service is exported with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceTerms {
    /// What an answer consists of.
    pub response: ResponseType,
    /// None is [`RESPONSE_THRESHOLD`].
    pub threshold_ns: Option<Nanos>,
    /// Measured, if so.
    pub latency: Option<Latency>,
}

/// Why an export or import can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// Not a subject.
    InvalidSubject,
    /// The exporter has not allowed it.
    StreamNotAuthorized,
    /// The exporter has not allowed it.
    ServiceNotAuthorized,
    /// A prefix must be literal.
    Prefix,
    /// Messages or requests would go in circles.
    Cycle,
    /// Too many accounts in a row.
    SearchDepth,
    /// The same stream twice.
    DuplicateStream,
    /// The same requests twice.
    DuplicateService {
        /// Their subject.
        from: String,
        /// Who answers already.
        account: String,
        /// Under which subject.
        to: String,
    },
    /// The two subjects don't go together.
    Transform {
        /// `stream` or `service`.
        what: &'static str,
        /// One subject.
        from: String,
        /// The other.
        to: String,
        /// Why.
        why: TransformError,
    },
    /// Latency can't be published there.
    LatencySubject,
    /// Latency is measured of single responses only.
    LatencyOfMany,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disagreement::InvalidSubject => f.write_str("invalid subject"),
            Disagreement::StreamNotAuthorized => f.write_str("stream import not authorized"),
            Disagreement::ServiceNotAuthorized => f.write_str("service import not authorized"),
            Disagreement::Prefix => {
                f.write_str("stream import prefix can not contain wildcard tokens")
            }
            Disagreement::Cycle => f.write_str("import forms a cycle"),
            Disagreement::SearchDepth => f.write_str("search cycle depth exhausted"),
            Disagreement::DuplicateStream => f.write_str("stream import already exists"),
            Disagreement::DuplicateService { from, account, to } => write!(
                f,
                "duplicate service import subject {from:?}, previously used in import for account \
                 {account:?}, subject {to:?}"
            ),
            Disagreement::Transform { what, from, to, why } => write!(
                f,
                "failed to create mapping transform for {what} import subject from {from:?} to \
                 {to:?}: {why}"
            ),
            Disagreement::LatencySubject => f.write_str("invalid publish subject"),
            Disagreement::LatencyOfMany => f.write_str("bad service response type"),
        }
    }
}

impl std::error::Error for Disagreement {}

impl Consent {
    fn add(
        &mut self,
        subject: &[u8],
        accounts: &[AccountId],
        token_position: usize,
    ) -> Result<(), Disagreement> {
        if token_position > 0 {
            let token = subject.split(|b| *b == b'.').nth(token_position - 1);
            if token != Some(b"*") {
                return Err(Disagreement::InvalidSubject);
            }
        }
        if !accounts.is_empty() || token_position > 0 {
            self.token_position = token_position;
            self.accounts.extend_from_slice(accounts);
        }
        Ok(())
    }

    /// `tokens` is the subject of the import, unless it is the very subject of the export.
    fn is_given(&self, importer: (AccountId, &str), tokens: Option<&[u8]>) -> bool {
        if self.token_position > 0 {
            let token = tokens
                .and_then(|subject| subject.split(|b| *b == b'.').nth(self.token_position - 1));
            return token == Some(importer.1.as_bytes());
        }
        self.accounts.is_empty() || self.accounts.contains(&importer.0)
    }
}

impl Agreements {
    /// Among accounts of these names, by [`AccountId`].
    pub fn new<'n>(names: impl Iterator<Item = &'n str>) -> Agreements {
        let party = |name: &str| Party { name: name.to_string(), ..Party::default() };
        Agreements { accounts: names.map(party).collect(), services: 0 }
    }

    fn party(&mut self, account: AccountId) -> &mut Party {
        &mut self.accounts[account.0 as usize]
    }

    /// Lets others get this account's messages: those in `accounts`, or everybody.
    ///
    /// # Errors
    ///
    /// If the token that shall name the importer is no wildcard.
    pub fn export_stream(
        &mut self,
        account: AccountId,
        subject: &[u8],
        accounts: &[AccountId],
        token_position: usize,
    ) -> Result<(), Disagreement> {
        let exports = &mut self.party(account).stream_exports;
        let known = exports.iter().position(|(known, _)| known == subject);
        let mut consent = known.map(|at| exports[at].1.clone()).unwrap_or_default();
        consent.add(subject, accounts, token_position)?;
        match known {
            Some(at) => exports[at].1 = consent,
            None => exports.push((subject.into(), consent)),
        }
        Ok(())
    }

    /// Lets others send this account requests.
    ///
    /// # Errors
    ///
    /// If the token that shall name the importer is no wildcard, or latency can't be measured so.
    pub fn export_service(
        &mut self,
        account: AccountId,
        subject: &[u8],
        accounts: &[AccountId],
        token_position: usize,
        terms: ServiceTerms,
    ) -> Result<(), Disagreement> {
        self.services += 1;
        let id = ServiceId(self.services);
        let exports = &mut self.party(account).service_exports;
        let known = exports.iter().position(|(known, ..)| known == subject);
        let mut consent = known.map(|at| exports[at].1.clone()).unwrap_or_default();
        consent.add(subject, accounts, token_position)?;
        if let Some(latency) = &terms.latency {
            let results = &latency.subject;
            let served = exports.iter().any(|(served, ..)| covers(served, results));
            let literal = subject::valid_pattern(results) && !has_wildcard(results);
            if !literal || served || covers(subject, results) {
                return Err(Disagreement::LatencySubject);
            }
            if terms.response != ResponseType::Singleton {
                return Err(Disagreement::LatencyOfMany);
            }
        }
        let service = ServiceExport {
            id,
            subject: subject.into(),
            response: terms.response,
            threshold_ns: terms.threshold_ns.unwrap_or(RESPONSE_THRESHOLD),
            latency: terms.latency,
        };
        let export = (subject.to_vec(), consent, service);
        match known {
            Some(at) => exports[at] = export,
            None => exports.push(export),
        }
        Ok(())
    }

    /// Lets this account's subscriptions get messages of another one, under `prefix` if that is
    /// not empty.
    ///
    /// # Errors
    ///
    /// As [`Disagreement`] says.
    pub fn import_stream_under(
        &mut self,
        account: AccountId,
        exporter: AccountId,
        from: &[u8],
        prefix: &[u8],
    ) -> Result<(), Disagreement> {
        self.may_import_stream(account, exporter, from)?;
        if has_wildcard(prefix) {
            return Err(Disagreement::Prefix);
        }
        let mut to = prefix.to_vec();
        if !to.is_empty() && !to.ends_with(b".") {
            to.push(b'.');
        }
        to.extend_from_slice(from);
        self.import_stream(account, exporter, from, &to)
    }

    /// Lets this account's subscriptions get messages of another one; `to` is their subject here,
    /// the same if empty.
    ///
    /// # Errors
    ///
    /// As [`Disagreement`] says.
    pub fn import_stream(
        &mut self,
        account: AccountId,
        exporter: AccountId,
        from: &[u8],
        to: &[u8],
    ) -> Result<(), Disagreement> {
        self.may_import_stream(account, exporter, from)?;
        let mut to = if to.is_empty() { from.to_vec() } else { to.to_vec() };
        for subject in [&to[..], from] {
            self.check_streams(exporter, subject, &mut BTreeSet::from([account]))?;
        }
        let keeps_subject = has_wildcard(from) && to == from;
        let mut transform = None;
        if has_wildcard(from) && !keeps_subject {
            let made = Transform::strict(from, &tokenize(&to)).map_err(|why| {
                Disagreement::Transform { what: "stream", from: text(from), to: text(&to), why }
            })?;
            transform = Some(made);
            to = untokenize(&to).0;
        }
        let party = self.party(account);
        if party.streams.iter().any(|s| s.account == exporter && *s.from == *from) {
            return Err(Disagreement::DuplicateStream);
        }
        party.streams.push(StreamImport {
            account: exporter,
            from: from.into(),
            to: to.into(),
            reverse: transform.as_ref().and_then(Transform::reverse),
            transform,
            keeps_subject,
        });
        Ok(())
    }

    fn may_import_stream(
        &self,
        account: AccountId,
        exporter: AccountId,
        from: &[u8],
    ) -> Result<(), Disagreement> {
        let importer = (account, self.accounts[account.0 as usize].name.as_str());
        let exports = &self.accounts[exporter.0 as usize].stream_exports;
        let exports = exports.iter().map(|(subject, consent)| (&subject[..], consent));
        match subject::valid_pattern(from) && is_approved(exports, importer, from) {
            true => Ok(()),
            false => Err(Disagreement::StreamNotAuthorized),
        }
    }

    /// Lets this account's requests to `from` be answered by another one, as requests to `to`.
    ///
    /// # Errors
    ///
    /// As [`Disagreement`] says.
    pub fn import_service(
        &mut self,
        account: AccountId,
        exporter: AccountId,
        from: &[u8],
        to: &[u8],
        share: bool,
    ) -> Result<(), Disagreement> {
        if !subject::valid_pattern(from) || !subject::valid_pattern(to) {
            return Err(Disagreement::InvalidSubject);
        }
        let importer = (account, self.accounts[account.0 as usize].name.as_str());
        let exports = &self.accounts[exporter.0 as usize].service_exports;
        let approvals = exports.iter().map(|(subject, consent, _)| (&subject[..], consent));
        if !is_approved(approvals, importer, to) {
            return Err(Disagreement::ServiceNotAuthorized);
        }
        let plain = if has_wildcard(to) { untokenize(from).0 } else { from.to_vec() };
        self.check_services(exporter, &plain, &mut BTreeSet::from([account]))?;
        let exports = &self.accounts[exporter.0 as usize].service_exports;
        let direct = exports.iter().find(|(subject, ..)| subject == to);
        let service = direct.or_else(|| exports.iter().find(|(subject, ..)| covers(subject, to)));
        let Some((_, _, service)) = service else {
            return Err(Disagreement::ServiceNotAuthorized);
        };
        let service = service.clone();
        self.check_duplicate_service(account, exporter, from)?;
        let keeps_subject = has_wildcard(to) && to == from;
        let mut import = ServiceImport {
            account: exporter,
            from: from.into(),
            to: to.into(),
            transform: None,
            keeps_subject,
            share,
            service,
        };
        if has_wildcard(to) && !keeps_subject {
            import.make_transform()?;
        }
        self.party(account).services.push(import);
        Ok(())
    }

    fn check_duplicate_service(
        &self,
        account: AccountId,
        exporter: AccountId,
        from: &[u8],
    ) -> Result<(), Disagreement> {
        let services = &self.accounts[account.0 as usize].services;
        match services.iter().find(|s| s.account == exporter && *s.from == *from) {
            None => Ok(()),
            Some(known) => Err(Disagreement::DuplicateService {
                from: text(from),
                account: self.accounts[exporter.0 as usize].name.clone(),
                to: text(&known.to),
            }),
        }
    }

    fn check_services(
        &self,
        exporter: AccountId,
        from: &[u8],
        visited: &mut BTreeSet<AccountId>,
    ) -> Result<(), Disagreement> {
        if visited.len() >= SEARCH_DEPTH_MAX {
            return Err(Disagreement::SearchDepth);
        }
        for import in &self.accounts[exporter.0 as usize].services {
            if !collide(from, &import.to) {
                continue;
            }
            if visited.contains(&import.account) {
                return Err(Disagreement::Cycle);
            }
            visited.insert(exporter);
            let narrower = if covers(from, &import.from) { &import.from } else { from };
            self.check_services(import.account, narrower, visited)?;
        }
        Ok(())
    }

    fn check_streams(
        &self,
        exporter: AccountId,
        to: &[u8],
        visited: &mut BTreeSet<AccountId>,
    ) -> Result<(), Disagreement> {
        if visited.len() >= SEARCH_DEPTH_MAX {
            return Err(Disagreement::SearchDepth);
        }
        let party = &self.accounts[exporter.0 as usize];
        if !party.stream_exports.iter().any(|(subject, _)| covers(subject, to)) {
            return Ok(());
        }
        for import in party.streams.iter().filter(|import| collide(to, &import.to)) {
            if visited.contains(&import.account) {
                return Err(Disagreement::Cycle);
            }
            visited.insert(exporter);
            let narrower = if covers(to, &import.to) { &import.to } else { to };
            self.check_streams(import.account, narrower, visited)?;
        }
        Ok(())
    }

    /// What comes of it for each account, by [`AccountId`].
    pub fn into_ties(self) -> Vec<Ties> {
        let serves: BTreeSet<AccountId> = self
            .accounts
            .iter()
            .flat_map(|party| party.services.iter().map(|import| import.account))
            .collect();
        let replies: Vec<bool> =
            self.accounts.iter().map(|party| !party.services.is_empty()).collect();
        let ties = self.accounts.into_iter().enumerate().map(|(at, party)| Ties {
            streams: party.streams,
            services: party.services,
            // A response may ask for a reply of its own.
            serves: serves.contains(&AccountId(at as u32)) || replies[at],
            exports: exports(party.service_exports, party.stream_exports),
            ..Ties::default()
        });
        ties.collect()
    }
}

impl ServiceImport {
    /// Wildcards on both sides: made the other way round, as only there functions may stand.
    fn make_transform(&mut self) -> Result<(), Disagreement> {
        let (to, _) = untokenize(&self.to);
        let back = Transform::strict(&to, &tokenize(&self.from)).map_err(|why| {
            let (from, to) = (text(&self.from), text(&to));
            Disagreement::Transform { what: "service", from, to, why }
        })?;
        self.from = untokenize(&self.from).0.into();
        self.to = to.into();
        self.transform = back.reverse();
        Ok(())
    }
}

fn exports(
    services: Vec<(Vec<u8>, Consent, ServiceExport)>,
    streams: Vec<(Vec<u8>, Consent)>,
) -> Vec<Export> {
    let export = |subject: Vec<u8>, consent: Consent, service| Export {
        subject: subject.into(),
        service,
        importers: consent.accounts,
        ..Export::default()
    };
    let services = services
        .into_iter()
        .map(|(subject, consent, service)| export(subject, consent, Some(service)));
    let streams = streams.into_iter().map(|(subject, consent)| export(subject, consent, None));
    services.chain(streams).collect()
}

fn is_approved<'e>(
    exports: impl Iterator<Item = (&'e [u8], &'e Consent)> + Clone,
    importer: (AccountId, &str),
    subject: &[u8],
) -> bool {
    if let Some((_, consent)) = exports.clone().find(|(export, _)| *export == subject) {
        return consent.is_given(importer, None);
    }
    let mut covering = exports.filter(|(export, _)| covers(export, subject));
    covering.next().is_some_and(|(_, consent)| consent.is_given(importer, Some(subject)))
}

fn text(subject: &[u8]) -> String {
    String::from_utf8_lossy(subject).into_owned()
}
