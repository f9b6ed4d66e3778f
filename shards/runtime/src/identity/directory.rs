//! Accounts' tokens in a directory, one file each: `<public key>.jwt`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use claims::{Kind, is_public};
use sha2::{Digest, Sha256};

/// What becomes of a token that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Deleting is refused.
    Refused,
    /// Its file is renamed to `….jwt.deleted`.
    Renamed,
    /// Its file is removed.
    Removed,
}

/// The directory. Only names made of public account keys are ever opened in it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Most tokens kept.
    tokens_max: usize,
    deletion: Deletion,
}

impl Directory {
    /// Opens it, making it if need be.
    ///
    /// # Errors
    /// It can't be made, or is no directory.
    pub fn open(path: &Path, tokens_max: usize, deletion: Deletion) -> io::Result<Directory> {
        fs::create_dir_all(path)?;
        Ok(Directory { path: path.canonicalize()?, tokens_max, deletion })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// May tokens be deleted?
    pub fn deletion(&self) -> Deletion {
        self.deletion
    }

    /// The token of an account, if there is one.
    ///
    /// # Errors
    /// The key is none, or the file can't be read.
    pub fn get(&self, account: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.file(account)?) {
            Ok(token) => Ok(Some(token.trim().to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a token: either the whole new one is there afterwards, or the old one.
    ///
    /// # Errors
    /// The key is none, there are too many tokens, or the file can't be written.
    pub fn put(&self, account: &str, token: &str) -> io::Result<()> {
        let file = self.file(account)?;
        if !file.exists() && self.list()?.len() >= self.tokens_max {
            return Err(io::Error::other("jwt store is full"));
        }
        let fresh = file.with_extension("jwt.new");
        let mut written = fs::File::create(&fresh)?;
        written.write_all(token.as_bytes())?;
        written.sync_all()?;
        fs::rename(&fresh, &file)
    }

    /// Takes a token out.
    ///
    /// # Errors
    /// The key is none, there is no such token, or deleting is refused.
    pub fn delete(&self, account: &str) -> io::Result<()> {
        let file = self.file(account)?;
        match self.deletion {
            Deletion::Refused => Err(io::Error::other("store is not set up to for delete")),
            Deletion::Renamed => fs::rename(&file, file.with_extension("jwt.deleted")),
            Deletion::Removed => fs::remove_file(&file),
        }
    }

    /// The accounts it has tokens of, in order.
    ///
    /// # Errors
    /// It can't be read.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let mut accounts = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some(account) = name.to_str().and_then(|name| name.strip_suffix(".jwt")) else {
                continue;
            };
            if is_public(Kind::Account, account) {
                accounts.push(account.to_string());
            }
        }
        accounts.sort_unstable();
        Ok(accounts)
    }

    /// What two directories with the same tokens have in common: the SHA-256 of each token, all
    /// of them XORed.
    ///
    /// # Errors
    /// It can't be read.
    pub fn hash(&self) -> io::Result<[u8; 32]> {
        let mut all = [0; 32];
        for account in self.list()? {
            let Some(token) = self.get(&account)? else { continue };
            for (sum, byte) in all.iter_mut().zip(Sha256::digest(token.as_bytes())) {
                *sum ^= byte;
            }
        }
        Ok(all)
    }

    /// A name from outside never becomes a path unless it is a public key.
    fn file(&self, account: &str) -> io::Result<PathBuf> {
        match is_public(Kind::Account, account) {
            true => Ok(self.path.join(format!("{account}.jwt"))),
            false => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "not a valid account public key"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "ACODERUVFFAWZQDSS6SBIACUA5O6SXF7HJ3YTYXBALHZP3P7R4BUO4J2";

    fn scratch(name: &str, deletion: Deletion) -> Directory {
        let path = std::env::temp_dir().join(format!("ringbus-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Directory::open(&path, 1, deletion).expect("a directory")
    }

    #[test]
    fn kept_read_and_deleted() {
        let directory = scratch("directory", Deletion::Renamed);
        assert_eq!(directory.get(ACCOUNT).expect("readable"), None);
        assert_eq!(directory.hash().expect("readable"), [0; 32]);
        directory.put(ACCOUNT, "one").expect("room for one");
        directory.put(ACCOUNT, "two").expect("the same one again");
        assert_eq!(directory.get(ACCOUNT).expect("readable").as_deref(), Some("two"));
        assert_eq!(directory.list().expect("readable"), [ACCOUNT]);
        assert_eq!(directory.hash().expect("readable")[..], Sha256::digest("two")[..]);
        let other = nkeys::KeyPair::new_account().public_key();
        assert!(directory.put(&other, "x").is_err(), "it is full");
        directory.delete(ACCOUNT).expect("it is there");
        assert!(directory.delete(ACCOUNT).is_err(), "it is gone");
        assert!(directory.path().join(format!("{ACCOUNT}.jwt.deleted")).exists());
        fs::remove_dir_all(directory.path()).expect("ours");
    }

    /// CVE-2022-26652: names from outside led out of the directory.
    #[test]
    fn cve_2022_26652_no_name_leads_out_of_the_directory() {
        let directory = scratch("outside", Deletion::Removed);
        for name in ["../x", "/etc/passwd", "", ".", "A/../../x", &ACCOUNT[1..]] {
            assert!(directory.put(name, "x").is_err(), "{name}");
            assert!(directory.get(name).is_err(), "{name}");
            assert!(directory.delete(name).is_err(), "{name}");
        }
        fs::remove_dir_all(directory.path()).expect("ours");
    }

    #[test]
    fn deleting_can_be_refused() {
        let directory = scratch("refused", Deletion::Refused);
        directory.put(ACCOUNT, "x").expect("room for one");
        assert!(directory.delete(ACCOUNT).is_err());
        assert_eq!(directory.list().expect("readable"), [ACCOUNT]);
        fs::remove_dir_all(directory.path()).expect("ours");
    }
}
