//! Which patterns take which subjects, said as plainly as possible.

/// Does a subscription to `pattern` take messages on `subject`?
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let subject: Vec<&[u8]> = subject.split(|byte| *byte == b'.').collect();
    if subject.iter().any(|token| token.is_empty()) {
        return false;
    }
    let mut at = 0;
    for token in pattern.split(|byte| *byte == b'.') {
        if token == b">" {
            return at < subject.len();
        }
        if at == subject.len() || (token != b"*" && token != subject[at]) {
            return false;
        }
        at += 1;
    }
    at == subject.len()
}

/// May a client subscribe to it?
pub fn is_valid(pattern: &[u8]) -> bool {
    let tokens: Vec<&[u8]> = pattern.split(|byte| *byte == b'.').collect();
    let last = tokens.len() - 1;
    tokens.iter().enumerate().all(|(at, token)| !token.is_empty() && (*token != b">" || at == last))
}

/// Has it no wildcard, so that a pedantic server is content with a publication on it?
pub fn is_literal(subject: &[u8]) -> bool {
    is_valid(subject)
        && subject.split(|byte| *byte == b'.').all(|token| token != b"*" && token != b">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, subject, wanted) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "a.b", false),
            ("a.b", "a", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("*.b", "a.b", true),
            (">", "a.b.c", true),
            ("a.>", "a", false),
            ("a.>", "a.b.c", true),
            ("a.*.c", "a.b.c", true),
            ("a.*", "a.*", true),
            ("a.b", "a.*", false),
            ("a.>", "a..b", false),
            ("a*", "ab", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), subject.as_bytes()),
                wanted,
                "{pattern} {subject}"
            );
        }
    }

    #[test]
    fn validity() {
        assert!(is_valid(b"a.*.>") && is_valid(b"a*") && is_valid(b">x"));
        assert!(!is_valid(b"") && !is_valid(b"a..b") && !is_valid(b">.a") && !is_valid(b"a."));
        assert!(is_literal(b"a.b*") && !is_literal(b"a.*") && !is_literal(b">"));
    }
}
