//! What the tests measure the crate against; it shares no code with it.
#![allow(dead_code)]

/// The rules of matching, read as literally as they can be written down.
pub fn naive_match(pattern: &str, subject: &str) -> bool {
    fn go(pattern: &[&str], subject: &[&str]) -> bool {
        match (pattern, subject) {
            ([], []) => true,
            ([">"], rest) => !rest.is_empty() && rest.iter().all(|token| !token.is_empty()),
            (["*", pattern @ ..], [name, subject @ ..]) => !name.is_empty() && go(pattern, subject),
            ([token, pattern @ ..], [name, subject @ ..]) => {
                *token != ">" && !token.is_empty() && token == name && go(pattern, subject)
            }
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.split('.').collect();
    let subject: Vec<&str> = subject.split('.').collect();
    go(&pattern, &subject)
}

pub fn naive_well_formed(pattern: &str) -> bool {
    let tokens: Vec<&str> = pattern.split('.').collect();
    tokens.iter().all(|token| !token.is_empty())
        && tokens[..tokens.len() - 1].iter().all(|token| *token != ">")
}

/// Every string of one to `depth` tokens.
pub fn all_of(tokens: &[&str], depth: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut last: Vec<String> = tokens.iter().map(|token| (*token).to_string()).collect();
    for _ in 1..depth {
        let longer = last
            .iter()
            .flat_map(|head| tokens.iter().map(move |token| format!("{head}.{token}")))
            .collect();
        all.append(&mut last);
        last = longer;
    }
    all.append(&mut last);
    all
}

/// The order in which matches are promised: the literal pattern, then token by token `>` before the
/// name before `*`.
pub fn order_key(pattern: &str) -> (bool, Vec<u8>) {
    let rank = |token| match token {
        ">" => 0,
        "*" => 2,
        _ => 1,
    };
    let ranks: Vec<u8> = pattern.split('.').map(rank).collect();
    (ranks.iter().any(|rank| *rank != 1), ranks)
}
