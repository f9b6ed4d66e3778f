//! What the system says of a failure, in the words that operators know.

use std::fmt;
use std::io;

/// Shows an error of the system without its number and without a capital letter, as nats-server
/// does: `no such file or directory`.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a>(pub &'a io::Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(number) = self.0.raw_os_error() else { return write!(f, "{}", self.0) };
        let text = self.0.to_string();
        let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
        let mut chars = text.chars();
        let first = chars.next().map(|first| first.to_ascii_lowercase());
        write!(f, "{}{}", first.map(String::from).unwrap_or_default(), chars.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_in_lower_case_and_without_numbers() {
        let table = [
            (libc::ENOENT, "no such file or directory"),
            (libc::EACCES, "permission denied"),
            (libc::EADDRINUSE, "address already in use"),
            (libc::EADDRNOTAVAIL, "cannot assign requested address"),
            (libc::ECONNREFUSED, "connection refused"),
        ];
        for (number, words) in table {
            assert_eq!(Cause(&io::Error::from_raw_os_error(number)).to_string(), words);
        }
        let told = io::Error::other("As it is");
        assert_eq!(Cause(&told).to_string(), "As it is");
    }
}
