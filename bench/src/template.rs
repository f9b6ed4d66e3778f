//! Subject templates and matching: `t.{a:1000}.{b:10}` stands for 10,000 subjects of one width.

use std::collections::HashMap;

/// Every subject a template stands for, in counting order (the last hole turns fastest).
/// A hole is `{name:count}` or `{count}`; its numbers are padded with zeros to one width, so
/// that all frames are of one size. Text outside the holes, wildcards included, is kept.
///
/// # Errors
/// A hole that is not closed, has no count, or counts to zero; more than 10 million subjects.
pub fn expand(template: &str) -> Result<Vec<String>, String> {
    let mut all = vec![String::new()];
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}').ok_or_else(|| format!("{template}: '{{' not closed"))?;
        let hole = &rest[open + 1..open + close];
        let digits = hole.rsplit(':').next().unwrap_or(hole);
        let count: usize =
            digits.parse().map_err(|_| format!("{template}: '{hole}' has no count"))?;
        if count == 0 || all.len().saturating_mul(count) > 10_000_000 {
            return Err(format!("{template}: between 1 and 10,000,000 subjects, please"));
        }
        let width = (count - 1).to_string().len();
        let text = &rest[..open];
        all = all
            .iter()
            .flat_map(|head| (0..count).map(move |n| format!("{head}{text}{n:0width$}")))
            .collect();
        rest = &rest[open + close + 1..];
    }
    for subject in &mut all {
        subject.push_str(rest);
    }
    Ok(all)
}

/// Whether `pattern` (with `*` and `>`) takes `subject`: the plain definition, token by token.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for want in pattern.split('.') {
        match (want, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (want, Some(have)) if want == have => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// A token tree from pattern to the numbers of those who asked for it. It only has to make
/// planning a million subjects quick; [`matches`] is what it is tested against.
#[derive(Default)]
pub struct Interest {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    children: HashMap<String, usize>,
    takers: Vec<u32>,
    rest: Vec<u32>,
}

impl Interest {
    /// An empty tree.
    pub fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Adds one taker of a pattern; a taker added twice is told twice.
    pub fn add(&mut self, pattern: &str, taker: u32) {
        let mut at = 0;
        for token in pattern.split('.') {
            if token == ">" {
                self.nodes[at].rest.push(taker);
                return;
            }
            at = match self.nodes[at].children.get(token) {
                Some(&next) => next,
                None => {
                    self.nodes.push(Node::default());
                    let next = self.nodes.len() - 1;
                    self.nodes[at].children.insert(token.to_string(), next);
                    next
                }
            };
        }
        self.nodes[at].takers.push(taker);
    }

    /// Everyone who takes this subject, sorted.
    pub fn takers(&self, subject: &str) -> Vec<u32> {
        let mut found = Vec::new();
        let mut level = vec![0usize];
        for token in subject.split('.') {
            let mut next = Vec::new();
            for &at in &level {
                let node = &self.nodes[at];
                found.extend_from_slice(&node.rest);
                next.extend(node.children.get(token).copied());
                if token != "*" {
                    next.extend(node.children.get("*").copied());
                }
            }
            level = next;
        }
        for at in level {
            found.extend_from_slice(&self.nodes[at].takers);
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_counts_like_an_odometer() {
        assert_eq!(expand("a").unwrap(), ["a"]);
        assert_eq!(
            expand("a.{n:2}.{m:2}.z").unwrap(),
            ["a.0.0.z", "a.0.1.z", "a.1.0.z", "a.1.1.z"]
        );
        let ten = expand("x{11}").unwrap();
        assert_eq!((ten[0].as_str(), ten[10].as_str()), ("x00", "x10"));
        assert_eq!(expand("s.{n:3}.>").unwrap()[2], "s.2.>");
    }

    #[test]
    fn a_bad_template_is_refused() {
        for bad in ["a.{n:2", "a.{n:0}", "a.{n}", "{n:10000}.{m:10000}"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_tree_agrees_with_the_definition() {
        let tokens = ["a", "b", "*", ">"];
        let mut patterns = Vec::new();
        for x in tokens {
            patterns.push(x.to_string());
            for y in tokens.iter().filter(|_| x != ">") {
                patterns.push(format!("{x}.{y}"));
                for z in tokens.iter().filter(|_| *y != ">") {
                    patterns.push(format!("{x}.{y}.{z}"));
                }
            }
        }
        let mut tree = Interest::new();
        for (i, pattern) in patterns.iter().enumerate() {
            tree.add(pattern, i as u32);
        }
        for subject in ["a", "b", "a.a", "a.b", "b.a", "a.b.a", "b.b.b", "c", "a.c.b", "a.b.a.b"] {
            let naive: Vec<u32> = (0..patterns.len() as u32)
                .filter(|&i| matches(&patterns[i as usize], subject))
                .collect();
            assert_eq!(tree.takers(subject), naive, "{subject}");
        }
    }
}
