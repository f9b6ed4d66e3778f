//! Whom to believe: the decisions on a user's token, in nats-server's order.

use std::collections::BTreeSet;
use std::net::IpAddr;

use data_encoding::{BASE64, BASE64URL_NOPAD};

use crate::account::{Account, ExportKind, Import, Scope};
use crate::activation::Activation;
use crate::hours::LocalTime;
use crate::key;
use crate::permissions::UserLimits;
use crate::source::Network;
use crate::template;
use crate::token::{Fault, decode_account, without_line_ends};
use crate::user::User;

/// The operators' keys a server believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    keys: BTreeSet<String>,
    strict: BTreeSet<String>,
}

/// What a connection shows with its user's token.
#[derive(Clone)]
pub struct Presented<'p> {
    /// The nonce of its INFO.
    pub nonce: &'p [u8],
    /// Base64 of the nonce's signature; may be empty.
    pub signature: &'p str,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// Now, seconds since 1970.
    pub now_s: i64,
    /// The time of day in a zone, by its IANA name or, if that is empty, the server's own;
    /// `None` if there is no such zone.
    pub local_time: &'p dyn Fn(&str) -> Option<LocalTime>,
}

/// When a connection's right ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Seconds from now.
    pub in_s: u64,
}

/// A user who may connect.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// What it may do; subjects are filled in.
    pub limits: UserLimits,
    /// Its token or its hours end then.
    pub expiry: Option<Expiry>,
}

/// Why it may not. The peer is never told; the log may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Its token says what can't be, or has ended.
    User(Fault),
    /// The account's token was not signed by a trusted operator.
    Untrusted,
    /// Its token was signed by nobody the account knows.
    Issuer,
    /// It is of a scoped key but says more than its role.
    Scope,
    /// Its role can't be filled in.
    Template(String),
    /// The account's token has ended.
    AccountExpired,
    /// The account wants users to prove that they own their key.
    Bearer,
    /// No signature of the nonce, or none of its own.
    Signature,
    /// Its token was revoked.
    Revoked,
    /// It comes from elsewhere than it may.
    Source,
    /// It comes at another time than it may.
    Hours,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Denied::User(fault) => write!(f, "User JWT not valid: {fault}"),
            Denied::Untrusted => f.write_str("Account JWT not signed by trusted operator"),
            Denied::Issuer => f.write_str("User JWT issuer is not known"),
            Denied::Scope => f.write_str(
                "User JWT is not valid: scoped users require no permissions or limits set",
            ),
            Denied::Template(why) => {
                write!(f, "User JWT generated invalid permissions: {why}")
            }
            Denied::AccountExpired => f.write_str("Account JWT has expired"),
            Denied::Bearer => f.write_str("Account does not allow bearer tokens"),
            Denied::Signature => f.write_str("Signature not verified"),
            Denied::Revoked => f.write_str("User authentication revoked"),
            Denied::Source => f.write_str("Bad src Ip"),
            Denied::Hours => f.write_str("Outside connect times"),
        }
    }
}

impl Trust {
    /// Believes what these operators' public keys have signed.
    pub fn new(keys: impl IntoIterator<Item = String>) -> Trust {
        Trust { keys: keys.into_iter().collect(), strict: BTreeSet::new() }
    }

    /// Accounts signed by these operators' keys must not sign users with their own keys.
    #[must_use]
    pub fn strict(self, keys: impl IntoIterator<Item = String>) -> Trust {
        Trust { strict: keys.into_iter().collect(), ..self }
    }

    /// In which role may `issuer` sign users for this account? The outer `None`: not at all.
    pub fn signer<'a>(&self, account: &'a Account, issuer: &str) -> Option<Option<&'a Scope>> {
        let own = issuer == account.claims.subject;
        let is_listed = || account.signing_keys().iter().any(|known| known.key() == issuer);
        if own && self.strict.contains(&account.claims.issuer) && !is_listed() {
            return None;
        }
        account.signer(issuer)
    }

    /// All of them, in order.
    pub fn keys(&self) -> Vec<String> {
        self.keys.iter().cloned().collect()
    }

    /// Is this one of the keys?
    pub fn has(&self, issuer: &str) -> bool {
        self.keys.contains(issuer)
    }

    /// May the account of this key import this from `exporter`, as far as activations go?
    pub fn lets_import(
        &self,
        exporter: &Account,
        importer: &str,
        import: &Import,
        now_s: i64,
    ) -> bool {
        let wanted = match import.kind {
            ExportKind::Service => import.service_subjects().1,
            _ => &import.subject,
        };
        let exports = || exporter.exports().iter().filter(|export| export.kind == import.kind);
        let covers = |outer: &str| subject::covers(outer.as_bytes(), wanted.as_bytes());
        let export = exports()
            .find(|export| export.subject == wanted)
            .or_else(|| exports().find(|export| covers(&export.subject)));
        let Some(export) = export else { return false };
        // The name of the importer in the subject is proof enough; whether it is there is for
        // whoever compares subjects to see.
        if export.account_token_position > 0 || !export.token_req {
            return true;
        }
        import.check(importer).is_ok()
            && import.activation().is_some_and(|activation| {
                self.activates(exporter, importer, &activation, now_s)
                    && !export.has_revoked(importer, activation.claims.issued_at_s)
            })
    }

    fn activates(
        &self,
        exporter: &Account,
        importer: &str,
        activation: &Activation,
        now_s: i64,
    ) -> bool {
        activation.claims.subject == importer
            && activation.is_of(&exporter.claims.subject)
            && !activation.is_of_another(&exporter.claims.subject)
            && self.signer(exporter, &activation.claims.issuer).is_some()
            && activation.check().is_ok()
            && activation.claims.check_time(now_s).is_ok()
            && (activation.claims.expires_s == 0 || activation.claims.expires_s > now_s)
    }

    /// Reads an account's token for `subject`, and believes it.
    ///
    /// # Errors
    /// It is none, of another account, of an issuer that is not trusted, or not valid now.
    pub fn account(&self, subject: &str, token: &str, now_s: i64) -> Result<Account, Fault> {
        let account = decode_account(token)?;
        if account.claims.subject != subject {
            return Err(Fault::Invalid("the token is of another account".to_string()));
        }
        if !self.has(&account.claims.issuer) {
            return Err(Fault::Invalid("not signed by a trusted operator".to_string()));
        }
        account.check(now_s)?;
        Ok(account)
    }

    /// May this user of this account connect, and with what rights?
    ///
    /// # Errors
    /// [`Denied`].
    pub fn admit(
        &self,
        user: &User,
        account: &Account,
        presented: &Presented<'_>,
    ) -> Result<Admitted, Denied> {
        user.check(presented.now_s).map_err(Denied::User)?;
        if user.account() != account.claims.subject || !self.has(&account.claims.issuer) {
            return Err(Denied::Untrusted);
        }
        let limits = self.rights(user, account)?;
        account.claims.check_time(presented.now_s).map_err(|_| Denied::AccountExpired)?;
        if limits.bearer_token && account.limits().no_bearer {
            return Err(Denied::Bearer);
        }
        if !limits.bearer_token && !signed(&user.claims.subject, presented) {
            return Err(Denied::Signature);
        }
        if account.has_revoked(&user.claims.subject, user.claims.issued_at_s) {
            return Err(Denied::Revoked);
        }
        let expiry = user.stay(&limits, presented)?;
        Ok(Admitted { limits, expiry })
    }

    /// What the token of a user of this account gives it, by the role of the key that signed it.
    ///
    /// # Errors
    /// Nobody the account knows has signed it, or it says more than its role.
    pub fn rights(&self, user: &User, account: &Account) -> Result<UserLimits, Denied> {
        match self.signer(account, &user.claims.issuer).ok_or(Denied::Issuer)? {
            None => Ok(user.limits().clone()),
            Some(_) if user.says_rights() => Err(Denied::Scope),
            Some(scope) => {
                template::filled(&scope.template, user, account).map_err(Denied::Template)
            }
        }
    }
}

impl UserLimits {
    /// Nothing is said of permissions: the account's defaults hold.
    pub fn default_permissions(&self) -> bool {
        self.permissions.is_empty()
    }
}

impl User {
    /// When the right of one with these limits ends, its own or those of a role.
    ///
    /// # Errors
    /// It must come from elsewhere, or at other hours.
    pub fn stay(
        &self,
        limits: &UserLimits,
        presented: &Presented<'_>,
    ) -> Result<Option<Expiry>, Denied> {
        // A zone must be one, whether there are hours or not.
        let zone = &self.limits().hours.zone;
        if !zone.is_empty() && (presented.local_time)(zone).is_none() {
            return Err(Denied::Hours);
        }
        match comes_from(limits, presented.address) {
            true => expiry(self, limits, presented),
            false => Err(Denied::Source),
        }
    }
}

fn signed(key: &str, presented: &Presented<'_>) -> bool {
    let text = without_line_ends(presented.signature);
    let decoded = BASE64URL_NOPAD.decode(&text).or_else(|_| BASE64.decode(&text));
    decoded.is_ok_and(|signature| key::verify(key, presented.nonce, &signature))
}

fn comes_from(limits: &UserLimits, address: Option<IpAddr>) -> bool {
    if limits.sources.is_empty() {
        return true;
    }
    let Some(address) = address else { return false };
    limits.sources.iter().filter_map(|cidr| Network::parse(cidr)).any(|n| n.contains(address))
}

fn expiry(
    user: &User,
    limits: &UserLimits,
    presented: &Presented<'_>,
) -> Result<Option<Expiry>, Denied> {
    let hours = &limits.hours;
    let open_for = match hours.ranges.is_empty() {
        true => None,
        false => {
            let now = (presented.local_time)(&hours.zone).ok_or(Denied::Hours)?;
            hours.open_for(now).ok_or(Denied::Hours)?
        }
    };
    // A time before 1970 is past like any other.
    let token_for = (user.claims.expires_s != 0)
        .then(|| u64::try_from(user.claims.expires_s.saturating_sub(presented.now_s)).unwrap_or(0));
    let soonest = open_for.map(u64::from).into_iter().chain(token_for).min();
    Ok(soonest.map(|in_s| Expiry { in_s }))
}
