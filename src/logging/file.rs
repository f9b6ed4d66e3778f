//! A log file that is put aside when it has grown too long, and of whose past only so much is kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use log::{Level, Record};
use runtime::Cause;

use super::style::Style;
use super::thread::Health;

/// Rooms for lines to go to; only the logger's thread writes to it.
pub struct LogFile {
    path: PathBuf,
    file: File,
    style: Style,
    health: Arc<Health>,
    bytes: u64,
    /// 0: it may grow as long as it likes.
    limit: u64,
    /// The limit now: doubled while the file can't be put aside.
    limit_now: u64,
    /// The file and its backups; 0: all are kept.
    files_max: usize,
}

impl LogFile {
    /// # Errors
    /// One line: the file can't be opened.
    pub fn open(
        path: &Path,
        limit: u64,
        files_max: usize,
        style: Style,
        health: Arc<Health>,
    ) -> Result<LogFile, String> {
        let file = append(path).map_err(|error| {
            format!("error opening file: open {}: {}", path.display(), Cause(&error))
        })?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let path = path.to_path_buf();
        let limit_now = limit;
        Ok(LogFile { path, file, style, health, bytes, limit, limit_now, files_max })
    }

    fn say(&mut self, level: Level, text: std::fmt::Arguments<'_>) {
        let mut line = Vec::new();
        let mut record = Record::builder();
        let record = record.level(level).target("ringbus").args(text).build();
        let written = self.style.write(&mut line, Timestamp::now(), &record);
        if written.and_then(|()| self.file.write_all(&line)).is_ok() {
            self.bytes += line.len() as u64;
        }
    }

    /// Puts the file aside under the name of this moment and begins a new one.
    fn rotate(&mut self) {
        let now = TimeZone::system().to_datetime(Timestamp::now());
        let backup = format!(
            "{}.{:04}.{:02}.{:02}.{:02}.{:02}.{:02}.{:09}",
            self.path.display(),
            now.year(),
            now.month(),
            now.day(),
            now.hour(),
            now.minute(),
            now.second(),
            now.subsec_nanosecond()
        );
        let next = fs::rename(&self.path, &backup).and_then(|()| append(&self.path));
        match next {
            Ok(file) => {
                self.file = file;
                self.bytes = 0;
                self.limit_now = self.limit;
                self.say(Level::Info, format_args!("Rotated log, backup saved as {backup:?}"));
                if self.files_max > 0 {
                    self.purge();
                }
            }
            Err(error) => {
                self.limit_now = self.limit_now.saturating_mul(2);
                let limit = self.limit_now;
                self.say(
                    Level::Error,
                    format_args!(
                        "Unable to rotate the logfile ({}), will attempt next rotation \
                         at size {limit}",
                        Cause(&error)
                    ),
                );
            }
        }
    }

    fn purge(&mut self) {
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let prefix = format!("{}.", name.unwrap_or_default());
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                return self.say(
                    Level::Error,
                    format_args!(
                        "Unable to read directory {:?} for log purge ({}), \
                         will attempt next rotation",
                        directory.display().to_string(),
                        Cause(&error)
                    ),
                );
            }
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut backups: Vec<String> =
            names.filter(|name| name.strip_prefix(&prefix).is_some_and(is_stamp)).collect();
        backups.sort();
        let excess = (backups.len() + 1).saturating_sub(self.files_max);
        for backup in &backups[..excess.min(backups.len())] {
            match fs::remove_file(directory.join(backup)) {
                Ok(()) => self.say(Level::Info, format_args!("Purged log file {backup:?}")),
                Err(error) => {
                    return self.say(
                        Level::Error,
                        format_args!(
                            "Unable to remove backup log file {backup:?} ({}), \
                             will attempt next rotation",
                            Cause(&error)
                        ),
                    );
                }
            }
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write_all(bytes) {
            Ok(()) => self.bytes += bytes.len() as u64,
            Err(error) => self.health.failed(&self.path.display(), &error),
        }
        if self.limit > 0 && self.bytes > self.limit_now {
            self.rotate();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `2026.08.02.12.00.00.123456789`, as in the name of a backup.
fn is_stamp(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let [year, month, day, hour, minute, second, fraction] = parts[..] else { return false };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let date = format!("{year}-{month}-{day}T{hour}:{minute}:{second}");
    digits(fraction) && fraction.len() == 9 && date.parse::<DateTime>().is_ok()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn too_long_a_file_is_put_aside_and_old_ones_go() {
        let name = format!("ringbus-rotate-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        for bystander in ["log.2020.01.01.00.00.00.000000000", "log.old", "log.2020.13.01.0.0.0.0"]
        {
            fs::write(directory.join(bystander), "x").unwrap();
        }
        let style = Style::plain(&options::Log::default(), false);
        let health = Arc::new(Health::default());
        let mut file = LogFile::open(&directory.join("log"), 300, 3, style, health).unwrap();
        let line = [b'x'; 100];
        for _ in 0..20 {
            assert_eq!(file.write(&line).unwrap(), 100);
        }
        let names = names(&directory);
        assert!(names.contains(&"log.old".to_string()), "{names:?}");
        assert!(!names.contains(&"log.2020.01.01.00.00.00.000000000".to_string()), "{names:?}");
        let backups = names
            .iter()
            .filter_map(|name| name.strip_prefix("log."))
            .filter(|s| is_stamp(s))
            .count();
        assert_eq!(backups, 2, "{names:?}");
        let text = fs::read_to_string(directory.join("log")).unwrap();
        assert!(text.contains("[INF] Rotated log, backup saved as \""), "{text}");
        assert!(text.contains("[INF] Purged log file \"log.2"), "{text}");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn stamps() {
        assert!(is_stamp("2026.08.02.12.00.00.123456789"));
        for text in ["", "1", "2026.13.02.12.00.00.123456789", "2026.08.02.12.00.00.12x456789"] {
            assert!(!is_stamp(text), "{text}");
        }
    }
}
