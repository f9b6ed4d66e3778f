//! The nats-server configuration grammar, with its corners: which characters end a bare word
//! depends on what it looked like so far, keys may hold almost anything, and a file may be one `{}`
//! block.

mod include;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::scan::{END, Scan};
use super::value::{Data, Fault, Map, Position, Value};

/// Maps and arrays inside one another.
const DEPTH_MAX: usize = 128;

pub use include::unreadable;

/// Looks a variable up in the environment.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Reads and parses a file, and the files it includes.
///
/// # Errors
/// The first mistake, with its place.
pub fn parse_file(path: &Path, environment: Environment<'_>) -> Result<Map, Fault> {
    let text = include::read(path).map_err(Fault::nowhere)?;
    let context = Context { environment, includes: 0, looking_up: BTreeSet::new() };
    Parser::new(path, &text, context).parse()
}

/// Parses `text` as if it were the file `path`; includes are relative to it.
///
/// # Errors
/// The first mistake, with its place.
#[cfg(test)]
pub fn parse_text(path: &Path, text: &str, environment: Environment<'_>) -> Result<Map, Fault> {
    let context = Context { environment, includes: 0, looking_up: BTreeSet::new() };
    Parser::new(path, text, context).parse()
}

#[derive(Clone)]
struct Context<'e> {
    environment: Environment<'e>,
    includes: usize,
    /// Environment variables being resolved, to catch cycles.
    looking_up: BTreeSet<String>,
}

/// Which rules the entries being read follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Top,
    /// Inside a `{` that stands where a key could: its entries are top-level ones.
    Block,
    Map,
}

struct Parser<'t, 'e> {
    scan: Scan<'t>,
    directory: PathBuf,
    context: Context<'e>,
    /// Open maps, the outermost first; the place to look variables up.
    scopes: Vec<Map>,
    depth: usize,
}

type Parsed<T> = Result<T, Fault>;

impl<'t, 'e> Parser<'t, 'e> {
    fn new(path: &Path, text: &'t str, context: Context<'e>) -> Self {
        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let scan = Scan::new(Rc::from(path.to_string_lossy().as_ref()), text);
        Parser { scan, directory, context, scopes: vec![Map::new()], depth: 0 }
    }

    fn parse(mut self) -> Parsed<Map> {
        self.top()?;
        Ok(self.scopes.swap_remove(0))
    }

    fn top(&mut self) -> Parsed<()> {
        while self.next_entry_begins(Scope::Top)? {
            if self.scan.peek() == '{' {
                self.scan.bump();
                self.block()?;
                continue;
            }
            self.entry(Scope::Top)?;
            self.end_of_value(Scope::Top)?;
        }
        Ok(())
    }

    /// A `{` where a key could stand, up to its `}`. The end of the file closes it too.
    fn block(&mut self) -> Parsed<()> {
        self.deeper(|parser| {
            while parser.next_entry_begins(Scope::Block)? {
                match parser.scan.peek() {
                    '}' => {
                        parser.scan.bump();
                        return Ok(());
                    }
                    '{' => {
                        parser.scan.bump();
                        parser.block()?;
                        parser.end_of_inner_block()?;
                    }
                    _ => {
                        parser.entry(Scope::Block)?;
                        parser.end_of_value(Scope::Block)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// After the `}` of a block within a block: a separator, or the `}` of the outer one.
    fn end_of_inner_block(&mut self) -> Parsed<()> {
        loop {
            match self.scan.peek() {
                '}' => return Ok(()),
                ';' | ',' => {
                    self.scan.bump();
                    return Ok(());
                }
                ' ' | '\t' | '\r' | '\n' => {
                    self.scan.bump();
                }
                _ if self.comment() => return Ok(()),
                _ => {
                    return Err(self
                        .scan
                        .fault(format!("expected '}}' to end the block, got {}", self.found())));
                }
            }
        }
    }

    /// Skips blanks and comments. False at the end of the text.
    fn next_entry_begins(&mut self, scope: Scope) -> Parsed<bool> {
        loop {
            match self.scan.peek() {
                c if c.is_whitespace() => {
                    self.scan.bump();
                }
                END if self.scan.rest().is_empty() => return Ok(false),
                END => return Err(self.scan.fault("unexpected NUL byte")),
                _ if self.comment() => {}
                // nats-server drops a lone slash before a key inside a map, and nowhere else.
                '/' if scope == Scope::Map => {
                    self.scan.bump();
                    return Ok(true);
                }
                '/' => {
                    return Err(self
                        .scan
                        .fault("a comment starts with '//' or '#'; '/' alone is no key"));
                }
                _ => return Ok(true),
            }
        }
    }

    /// Takes a comment up to its line's end, if one starts here.
    fn comment(&mut self) -> bool {
        use nom::branch::alt;
        use nom::bytes::complete::{tag, take_till};
        use nom::sequence::preceded;
        let body = take_till(|c| c == '\n' || c == '\r' || c == END);
        self.scan.take(preceded(alt((tag("//"), tag("#"))), body)).is_some()
    }

    /// `key value`, or an include. The cursor is at the key.
    fn entry(&mut self, scope: Scope) -> Parsed<()> {
        let at = self.scan.position();
        let key = match self.scan.peek() {
            '=' | ':' => {
                return Err(self.scan.fault(format!("expected a key before {}", self.found())));
            }
            quote @ ('"' | '\'') => self.quoted_key(quote)?,
            _ => match self.bare_key() {
                key if key.eq_ignore_ascii_case("include") && self.scan.peek().is_whitespace() => {
                    return self.include(&at);
                }
                key => Key { text: key, at },
            },
        };
        if !self.key_end(scope, &key)? {
            return Ok(());
        }
        let data = self.value()?;
        self.set(key, data);
        Ok(())
    }

    fn set(&mut self, key: Key, data: Data) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(key.text, Value::new(data, key.at));
        }
    }

    fn quoted_key(&mut self, quote: char) -> Parsed<Key> {
        let opened = self.scan.position();
        self.scan.bump();
        let at = self.scan.position();
        let start = self.scan.offset();
        loop {
            match self.scan.peek() {
                END => {
                    return Err(Fault {
                        at: Some(opened),
                        message: format!("this key has no closing {quote}"),
                    });
                }
                c if c == quote => break,
                _ => {
                    self.scan.bump();
                }
            }
        }
        let text = self.scan.since(start).to_string();
        self.scan.bump();
        Ok(Key { text, at })
    }

    /// A key runs to a blank, a separator or the end, whatever else is in it. Its first character
    /// is taken unseen, so `}` and `,` can start one.
    fn bare_key(&mut self) -> String {
        let start = self.scan.offset();
        self.scan.bump();
        while !matches!(self.scan.peek(), '=' | ':' | END) && !self.scan.peek().is_whitespace() {
            self.scan.bump();
        }
        self.scan.since(start).to_string()
    }

    /// Goes from the key to its value. False when the text ends with a `}` that closes nothing,
    /// which lets a file end like a JSON document.
    fn key_end(&mut self, scope: Scope, key: &Key) -> Parsed<bool> {
        self.skip(char::is_whitespace);
        let separated = matches!(self.scan.peek(), '=' | ':');
        if separated {
            self.scan.bump();
            self.skip(
                |c| {
                    if scope == Scope::Map { c.is_whitespace() } else { c == ' ' || c == '\t' }
                },
            );
        }
        match self.scan.peek() {
            END if scope == Scope::Map => {
                Err(self.scan.fault("the file ends inside a map: add the missing '}'"))
            }
            END if separated => Ok(true),
            END if key.text == "}" => Ok(false),
            END => Err(self.scan.fault(format!("config is invalid: {:?} has no value", key.text))),
            '\r' | '\n' => Err(self
                .scan
                .fault(format!("expected a value for {:?}, but the line ends", key.text))),
            '}' | ',' if scope == Scope::Map => Err(self.scan.fault(format!(
                "expected a value for {:?}, got {}",
                key.text,
                self.found()
            ))),
            _ => Ok(true),
        }
    }

    /// What may follow a value: blanks, then a comment, a line end, `;`, `,` or a closing bracket.
    fn end_of_value(&mut self, scope: Scope) -> Parsed<()> {
        loop {
            match self.scan.peek() {
                _ if self.comment() => {
                    if scope == Scope::Top {
                        return Ok(());
                    }
                }
                // A lone slash after a value is dropped; in a map it even separates.
                '/' if scope == Scope::Map => {
                    self.scan.bump();
                    return Ok(());
                }
                ' ' | '\t' | '/' => {
                    self.scan.bump();
                }
                '\r' | '\n' | ';' | ',' => {
                    self.scan.bump();
                    return Ok(());
                }
                '}' => {
                    if scope == Scope::Top {
                        self.scan.bump();
                    }
                    return Ok(());
                }
                END if scope == Scope::Top => {
                    self.scan.bump();
                    return Ok(());
                }
                END => {
                    return Err(self.scan.fault("the file ends inside a '{': add the missing '}'"));
                }
                _ => {
                    return Err(self.scan.fault(format!(
                        "expected the line to end after the value, got {} \
                         (quote a value that has blanks in it)",
                        self.found()
                    )));
                }
            }
        }
    }

    fn value(&mut self) -> Parsed<Data> {
        match self.scan.peek() {
            '[' => self.array(),
            '{' => self.map(),
            '\'' => self.single_quoted().map(Data::Text),
            '"' => self.double_quoted().map(Data::Text),
            '(' => self.block_text().map(Data::Text),
            c if c == '-' || c.is_ascii_digit() => self.number(),
            '.' => Err(self.scan.fault("a decimal number starts with a digit: write 0.5, not .5")),
            _ => self.bare_word(),
        }
    }

    fn map(&mut self) -> Parsed<Data> {
        self.scan.bump();
        self.scopes.push(Map::new());
        self.deeper(Self::map_entries)?;
        Ok(Data::Map(Rc::new(self.scopes.pop().unwrap_or_default())))
    }

    fn map_entries(&mut self) -> Parsed<()> {
        let opened = self.scan.position();
        while self.next_entry_begins(Scope::Map)? {
            match self.scan.peek() {
                '}' => {
                    self.scan.bump();
                    return Ok(());
                }
                ']' => return Err(self.scan.fault("expected a key or '}' in a map, got ']'")),
                _ => {
                    self.entry(Scope::Map)?;
                    self.end_of_value(Scope::Map)?;
                }
            }
        }
        Err(Fault { at: Some(opened), message: "this map has no closing '}'".to_string() })
    }

    fn array(&mut self) -> Parsed<Data> {
        let opened = self.scan.position();
        self.scan.bump();
        let mut items = Vec::new();
        self.deeper(|parser| {
            while parser.next_item_begins(&opened)? {
                let at = parser.scan.position();
                let data = parser.value()?;
                items.push(Value::new(data, at));
                parser.end_of_item()?;
            }
            Ok(())
        })?;
        Ok(Data::Array(items.into()))
    }

    /// Skips blanks and comments. False, and the `]` taken, at the end of the array
    /// that was `opened` there.
    fn next_item_begins(&mut self, opened: &Position) -> Parsed<bool> {
        loop {
            match self.scan.peek() {
                c if c.is_whitespace() => {
                    self.scan.bump();
                }
                _ if self.comment() => {}
                ']' => {
                    self.scan.bump();
                    return Ok(false);
                }
                '/' | ',' => {
                    return Err(self
                        .scan
                        .fault(format!("expected an array item, got {}", self.found())));
                }
                END => {
                    let message = "this array has no closing ']'".to_string();
                    return Err(Fault { at: Some(opened.clone()), message });
                }
                _ => return Ok(true),
            }
        }
    }

    fn end_of_item(&mut self) -> Parsed<()> {
        loop {
            match self.scan.peek() {
                ' ' | '\t' => {
                    self.scan.bump();
                }
                _ if self.comment() => {}
                ',' | '\r' | '\n' | '/' => {
                    self.scan.bump();
                    return Ok(());
                }
                ']' => return Ok(()),
                _ => {
                    return Err(self.scan.fault(format!(
                        "expected ',' or ']' after an array item, got {}",
                        self.found()
                    )));
                }
            }
        }
    }

    fn deeper(&mut self, inside: impl FnOnce(&mut Self) -> Parsed<()>) -> Parsed<()> {
        if self.depth == DEPTH_MAX {
            return Err(self.scan.fault(format!("maps and arrays more than {DEPTH_MAX} deep")));
        }
        self.depth += 1;
        inside(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn skip(&mut self, matching: impl Fn(char) -> bool) {
        while !(self.scan.peek() == END && self.scan.rest().is_empty())
            && matching(self.scan.peek())
        {
            self.scan.bump();
        }
    }

    /// What is at the cursor, in an operator's words.
    fn found(&self) -> String {
        match self.scan.peek() {
            END => "the end of the file".to_string(),
            '\r' | '\n' => "the end of the line".to_string(),
            c => format!("'{}'", c.escape_debug()),
        }
    }
}

struct Key {
    text: String,
    at: Position,
}
