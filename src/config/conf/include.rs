//! Files, and files that include files.

use std::io;
use std::path::{Component, Path, PathBuf};

use runtime::Cause;

use super::super::scan::END;
use super::super::value::{Fault, Position};
use super::words::text_of;
use super::{Context, Parsed, Parser};

const INCLUDE_DEPTH_MAX: usize = 16;

/// A comment in Latin-1 is no reason to refuse a file, so bytes that are no UTF-8 are let through.
pub(super) fn read(path: &Path) -> Result<String, String> {
    std::fs::read(path).map(text_of).map_err(|error| unreadable(path, &error))
}

/// `open <file>: <why>`; a directory can be opened.
pub fn unreadable(path: &Path, error: &io::Error) -> String {
    let did = if error.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" };
    format!("{did} {}: {}", path.display(), Cause(error))
}

impl Parser<'_, '_> {
    /// `include` and the blank after it are behind; the file's entries land in the open map.
    pub(super) fn include(&mut self, at: &Position) -> Parsed<()> {
        let fault = |message: String| Fault { at: Some(at.clone()), message };
        self.skip(|c| c == ' ' || c == '\t');
        let name = match self.scan.peek() {
            '\'' => self.single_quoted()?,
            '"' => self.include_double_quoted()?,
            c if c.is_ascii_digit() || "-[{(\\\r\n".contains(c) => {
                return Err(self
                    .scan
                    .fault(format!("expected a file name after include, got {}", self.found())));
            }
            _ => self.include_bare(),
        };
        if self.context.includes == INCLUDE_DEPTH_MAX {
            return Err(fault(format!("more than {INCLUDE_DEPTH_MAX} files include one another")));
        }
        // An absolute path too is taken below this file's directory, as nats-server does.
        let path = clean_join(&self.directory, &name);
        let text = read(&path)
            .map_err(|why| fault(format!("error parsing include file '{name}', {why}")))?;
        let context = Context { includes: self.context.includes + 1, ..self.context.clone() };
        let mut included = Parser::new(&path, &text, context).parse()?;
        if let Some(scope) = self.scopes.last_mut() {
            scope.append(&mut included);
        }
        Ok(())
    }

    fn include_double_quoted(&mut self) -> Parsed<String> {
        let opened = self.scan.position();
        self.scan.bump();
        let start = self.scan.offset();
        self.skip(|c| c != '"' && c != END);
        if self.scan.peek() == END {
            return Err(Fault {
                at: Some(opened),
                message: "this file name has no closing \"".to_string(),
            });
        }
        let name = self.scan.since(start).to_string();
        self.scan.bump();
        Ok(name)
    }

    fn include_bare(&mut self) -> String {
        let start = self.scan.offset();
        self.skip(|c| !matches!(c, '\r' | '\n' | ';' | '}' | ' ' | '\t' | '\'' | END));
        let name = self.scan.since(start).to_string();
        if self.scan.peek() == '\'' {
            self.scan.bump();
        }
        name
    }
}

/// Joins and resolves `.` and `..` by the text alone.
fn clean_join(directory: &Path, name: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in directory
        .components()
        .chain(Path::new(name).components().filter(|c| *c != Component::RootDir))
    {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(path.components().next_back(), Some(Component::Normal(_))) =>
            {
                path.pop();
            }
            other => path.push(other),
        }
    }
    path
}
