//! A peer's faults: what it is told, why its connection closes, what the log says.

use std::fmt;

use crate::quote::{quote_into, quoted};

/// Bytes of the input that the log line of [`Fault::UnknownOperation`] shows.
pub(crate) const UNKNOWN_SNIPPET_BYTES_MAX: usize = 32;

/// Every text that stands in `-ERR '…'`.
pub mod error_text {
    use crate::quote::quote_into;

    /// A verb that doesn't exist, or a payload not followed by CRLF. Closes.
    pub const UNKNOWN_PROTOCOL_OPERATION: &str = "Unknown Protocol Operation";
    /// Closes.
    pub const MAXIMUM_CONTROL_LINE: &str = "maximum control line exceeded";
    /// Closes, decided at the control line.
    pub const MAXIMUM_PAYLOAD_VIOLATION: &str = "Maximum Payload Violation";
    /// Pedantic publication to a wildcard or malformed subject. Stays open.
    pub const INVALID_PUBLISH_SUBJECT: &str = "Invalid Publish Subject";
    /// Subscription to a malformed pattern. Stays open.
    pub const INVALID_SUBJECT: &str = "Invalid Subject";
    /// The one text for all kinds of failed authentication. Closes.
    pub const AUTHORIZATION_VIOLATION: &str = "Authorization Violation";
    /// No CONNECT in time. Closes.
    pub const AUTHENTICATION_TIMEOUT: &str = "Authentication Timeout";
    /// Closes.
    pub const USER_AUTHENTICATION_EXPIRED: &str = "User Authentication Expired";
    /// Closes.
    pub const ACCOUNT_AUTHENTICATION_EXPIRED: &str = "Account Authentication Expired";
    /// Closes.
    pub const USER_AUTHENTICATION_REVOKED: &str = "User Authentication Revoked";
    /// Sent after INFO. Closes.
    pub const MAXIMUM_CONNECTIONS: &str = "maximum connections exceeded";
    /// Closes.
    pub const MAXIMUM_ACCOUNT_CONNECTIONS: &str = "maximum account active connections exceeded";
    /// Stays open at SUB.
    pub const MAXIMUM_SUBSCRIPTIONS: &str = "maximum subscriptions exceeded";
    /// Too many PINGs unanswered. Closes.
    pub const STALE_CONNECTION: &str = "Stale Connection";
    /// TLS handshake not done in time. Closes.
    pub const TLS_REQUIRED: &str = "Secure Connection - TLS Required";
    /// Too many TLS handshakes per second. Closes.
    pub const CONNECTION_THROTTLED: &str =
        "Connection throttling is active. Please try again later.";
    /// CONNECT with a protocol that is neither 0 nor 1. Closes.
    pub const INVALID_CLIENT_PROTOCOL: &str = "invalid client protocol";
    /// Closes.
    pub const NO_RESPONDERS_REQUIRES_HEADERS: &str = "no responders requires headers support";
    /// Closes.
    pub const FAILED_ACCOUNT_REGISTRATION: &str = "Failed Account Registration";
    /// A client on the route port. Closes.
    pub const CONNECTED_TO_ROUTE_PORT: &str = "attempted to connect to route port";
    /// A client on the leafnode port. Closes.
    pub const CONNECTED_TO_LEAF_PORT: &str = "attempted to connect to leaf node port";
    /// A client or route on the gateway port. Closes.
    pub const CONNECTED_TO_GATEWAY_PORT: &str = "attempted to connect to gateway port";
    /// Closes.
    pub const CONNECTED_TO_WRONG_PORT: &str = "attempted to connect to wrong port";

    /// A publication to `subject` is not allowed. Stays open.
    pub fn permissions_violation_publish(subject: &[u8]) -> String {
        text(&[("Permissions Violation for Publish to ", subject)], "")
    }

    /// A publication with this `reply` subject is not allowed. Stays open.
    pub fn permissions_violation_reply(reply: &[u8]) -> String {
        text(&[("Permissions Violation for Publish with Reply of ", reply)], "")
    }

    /// A subscription to `subject` is not allowed. Stays open.
    pub fn permissions_violation_subscribe(subject: &[u8], queue: Option<&[u8]>) -> String {
        subscription(subject, queue, None)
    }

    /// A reload has ended the subscription `sid`. Stays open.
    pub fn permissions_violation_removed(
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) -> String {
        subscription(subject, queue, Some(sid))
    }

    /// A subscription has more tokens than `max_sub_tokens`. Stays open.
    pub fn permissions_violation_tokens(subject: &[u8]) -> String {
        text(&[(SUBSCRIPTION, subject)], ", too many tokens")
    }

    const SUBSCRIPTION: &str = "Permissions Violation for Subscription to ";

    fn subscription(subject: &[u8], queue: Option<&[u8]>, sid: Option<&[u8]>) -> String {
        let mut parts = vec![(SUBSCRIPTION, subject)];
        parts.extend(queue.map(|queue| (" using queue ", queue)));
        parts.extend(sid.map(|sid| (" (sid ", sid)));
        text(&parts, if sid.is_some() { ")" } else { "" })
    }

    fn text(parts: &[(&str, &[u8])], end: &str) -> String {
        let mut out = String::new();
        for (words, quoted) in parts {
            out.push_str(words);
            quote_into(&mut out, quoted);
        }
        out.push_str(end);
        out
    }
}

/// Why a connection closed, as `/connz?state=closed` and the log say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "as_str says what each one means")]
pub enum CloseReason {
    ClientClosed,
    AuthenticationTimeout,
    AuthenticationFailure,
    TlsHandshakeFailure,
    SlowConsumerPendingBytes,
    SlowConsumerWriteDeadline,
    WriteError,
    ReadError,
    ParseError,
    StaleConnection,
    ProtocolViolation,
    BadClientProtocolVersion,
    IncorrectPort,
    MaximumAccountConnectionsExceeded,
    MaximumConnectionsExceeded,
    MaximumPayloadExceeded,
    MaximumControlLineExceeded,
    MaximumSubscriptionsExceeded,
    DuplicateRoute,
    RouteRemoved,
    ServerShutdown,
    AuthenticationExpired,
    WrongGateway,
    MissingAccount,
    CredentialsRevoked,
    InternalClient,
    MessageHeaderViolation,
    NoRespondersRequiresHeaders,
    ClusterNameConflict,
    DuplicateRemoteLeafnodeConnection,
    DuplicateClientId,
    DuplicateServerName,
    MinimumVersionRequired,
    ClusterNamesIdentical,
    Kicked,
    ProxyNotTrusted,
    ProxyRequired,
}

impl CloseReason {
    /// The `reason` of connz.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "Client Closed",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::AuthenticationFailure => "Authentication Failure",
            Self::TlsHandshakeFailure => "TLS Handshake Failure",
            Self::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            Self::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            Self::WriteError => "Write Error",
            Self::ReadError => "Read Error",
            Self::ParseError => "Parse Error",
            Self::StaleConnection => "Stale Connection",
            Self::ProtocolViolation => "Protocol Violation",
            Self::BadClientProtocolVersion => "Bad Client Protocol Version",
            Self::IncorrectPort => "Incorrect Port",
            Self::MaximumAccountConnectionsExceeded => "Maximum Account Connections Exceeded",
            Self::MaximumConnectionsExceeded => "Maximum Connections Exceeded",
            Self::MaximumPayloadExceeded => "Maximum Message Payload Exceeded",
            Self::MaximumControlLineExceeded => "Maximum Control Line Exceeded",
            Self::MaximumSubscriptionsExceeded => "Maximum Subscriptions Exceeded",
            Self::DuplicateRoute => "Duplicate Route",
            Self::RouteRemoved => "Route Removed",
            Self::ServerShutdown => "Server Shutdown",
            Self::AuthenticationExpired => "Authentication Expired",
            Self::WrongGateway => "Wrong Gateway",
            Self::MissingAccount => "Missing Account",
            Self::CredentialsRevoked => "Credentials Revoked",
            Self::InternalClient => "Internal Client",
            Self::MessageHeaderViolation => "Message Header Violation",
            Self::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            Self::ClusterNameConflict => "Cluster Name Conflict",
            Self::DuplicateRemoteLeafnodeConnection => "Duplicate Remote LeafNode Connection",
            Self::DuplicateClientId => "Duplicate Client ID",
            Self::DuplicateServerName => "Duplicate Server Name",
            Self::MinimumVersionRequired => "Minimum Version Required",
            Self::ClusterNamesIdentical => "Cluster Names Identical",
            Self::Kicked => "Kicked",
            Self::ProxyNotTrusted => "Proxy Not Trusted",
            Self::ProxyRequired => "Proxy Required",
        }
    }

    /// Whether what is pending for the peer is still written before the connection ends.
    pub const fn flushes(self) -> bool {
        !matches!(
            self,
            Self::ReadError
                | Self::WriteError
                | Self::SlowConsumerPendingBytes
                | Self::SlowConsumerWriteDeadline
                | Self::TlsHandshakeFailure
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with the arguments of a `PUB` or `HPUB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PubFault {
    /// `PUB` with neither two nor three arguments.
    Arguments,
    /// `PUB` with a size that is not 1 to 9 digits.
    Size,
    /// `HPUB` with neither three nor four arguments.
    HeaderArguments,
    /// `HPUB` with a header length that is not 1 to 9 digits.
    HeaderSize,
    /// `HPUB` with a total length that is not 1 to 9 digits.
    TotalSize,
    /// `HPUB` whose header would be longer than header and body.
    HeaderLargerThanTotal,
}

impl PubFault {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Arguments => "processPub Parse Error",
            Self::Size => "processPub Bad or Missing Size",
            Self::HeaderArguments => "processHeaderPub Parse Error",
            Self::HeaderSize => "processHeaderPub Bad or Missing Header Size",
            Self::TotalSize => "processHeaderPub Bad or Missing Total Size",
            Self::HeaderLargerThanTotal => "processHeaderPub Header Size larger then TotalSize",
        }
    }
}

/// A client's fault that ends its connection. Its `Display` is the log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A byte that can't be where it is.
    UnknownOperation {
        /// nats-server's number of the parser state.
        state: u8,
        /// Index of the byte in the bytes given.
        at: usize,
        /// The bytes from there on, at most 32.
        snippet: Box<[u8]>,
    },
    /// The argument part of a control line is too long.
    ControlLineTooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// The control line announces too large a payload.
    PayloadTooLarge {
        /// Announced bytes, header included.
        size: i64,
        /// The limit in bytes.
        max: i64,
    },
    /// Arguments of `PUB` or `HPUB`.
    BadPub {
        /// What is wrong.
        what: PubFault,
        /// The arguments.
        args: Box<[u8]>,
    },
    /// Arguments of `SUB`.
    BadSub {
        /// The arguments.
        args: Box<[u8]>,
    },
    /// Arguments of `UNSUB`.
    BadUnsub {
        /// The arguments.
        args: Box<[u8]>,
    },
    /// `CONNECT` with something else than JSON of the right types.
    BadConnect {
        /// What is wrong.
        what: Box<str>,
    },
    /// `INFO` with something else than JSON of the right types.
    BadInfo {
        /// What is wrong.
        what: Box<str>,
    },
    /// `HPUB` on a connection without headers.
    HeadersUnsupported,
    /// The client sent `-ERR`.
    ClientErr(
        /// Its text.
        Box<[u8]>,
    ),
    /// `CONNECT` with a protocol that is neither 0 nor 1.
    InvalidProtocol,
    /// `CONNECT` with `no_responders` on a connection without headers.
    NoRespondersNeedHeaders,
    /// `CONNECT` with `account` or `new_account`, or any other authentication that failed.
    Authorization,
}

impl Fault {
    /// The fault of a client that sent `-ERR` with `text`.
    pub fn client_err(text: &[u8]) -> Self {
        Self::ClientErr(text.into())
    }

    /// The text to send in `-ERR '…'`; `None` means to close without a word.
    pub const fn error_text(&self) -> Option<&'static str> {
        match self {
            Self::UnknownOperation { .. } => Some(error_text::UNKNOWN_PROTOCOL_OPERATION),
            Self::ControlLineTooLong { .. } => Some(error_text::MAXIMUM_CONTROL_LINE),
            Self::PayloadTooLarge { .. } => Some(error_text::MAXIMUM_PAYLOAD_VIOLATION),
            Self::InvalidProtocol => Some(error_text::INVALID_CLIENT_PROTOCOL),
            Self::NoRespondersNeedHeaders => Some(error_text::NO_RESPONDERS_REQUIRES_HEADERS),
            Self::Authorization => Some(error_text::AUTHORIZATION_VIOLATION),
            Self::BadPub { .. }
            | Self::BadSub { .. }
            | Self::BadUnsub { .. }
            | Self::BadConnect { .. }
            | Self::BadInfo { .. }
            | Self::HeadersUnsupported
            | Self::ClientErr(_) => None,
        }
    }

    /// Why the connection closes.
    pub const fn reason(&self) -> CloseReason {
        match self {
            Self::ControlLineTooLong { .. } => CloseReason::MaximumControlLineExceeded,
            Self::PayloadTooLarge { .. } => CloseReason::MaximumPayloadExceeded,
            Self::InvalidProtocol => CloseReason::BadClientProtocolVersion,
            Self::NoRespondersNeedHeaders => CloseReason::NoRespondersRequiresHeaders,
            Self::Authorization => CloseReason::AuthenticationFailure,
            Self::ClientErr(_) => CloseReason::ParseError,
            Self::UnknownOperation { .. }
            | Self::BadPub { .. }
            | Self::BadSub { .. }
            | Self::BadUnsub { .. }
            | Self::BadConnect { .. }
            | Self::BadInfo { .. }
            | Self::HeadersUnsupported => CloseReason::ProtocolViolation,
        }
    }
}

/// What a misspelt CONNECT has in its JSON is nobody's business.
fn shown(snippet: &[u8]) -> String {
    match snippet.iter().position(|byte| matches!(byte, b'{' | b'"')) {
        Some(start) => format!("{} [REDACTED]", quoted(&snippet[..start])),
        None => quoted(snippet),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOperation { state, at, snippet } => {
                let proto = shown(snippet);
                write!(f, "Client parser ERROR, state={state}, i={at}: proto='{proto}...'")
            }
            Self::ControlLineTooLong { .. } => f.write_str(error_text::MAXIMUM_CONTROL_LINE),
            Self::PayloadTooLarge { size, max } => {
                write!(f, "maximum payload exceeded: {size} vs {max}")
            }
            Self::BadPub { what, args } => write_quoted(f, what.as_str(), args),
            Self::BadSub { args } => write_quoted(f, "processSub Parse Error", args),
            Self::BadUnsub { args } => write_quoted(f, "processUnsub Parse Error", args),
            Self::BadConnect { what } | Self::BadInfo { what } => f.write_str(what),
            Self::HeadersUnsupported => f.write_str("message headers not supported"),
            Self::ClientErr(text) => {
                write!(f, "Client Error {}", String::from_utf8_lossy(text))
            }
            Self::InvalidProtocol => f.write_str(error_text::INVALID_CLIENT_PROTOCOL),
            Self::NoRespondersNeedHeaders => {
                f.write_str(error_text::NO_RESPONDERS_REQUIRES_HEADERS)
            }
            Self::Authorization => f.write_str("authentication error"),
        }
    }
}

impl std::error::Error for Fault {}

fn write_quoted(f: &mut fmt::Formatter<'_>, what: &str, args: &[u8]) -> fmt::Result {
    let mut line = String::from(what);
    line.push_str(": ");
    quote_into(&mut line, args);
    f.write_str(&line)
}
