//! What stands in a directory: the files to read, and the directories to watch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use isthmus_config::parse::MAX_FILE;

/// How a file looks from outside: another look is another content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), modified: metadata.modified().ok() }
    }
    /// True where the content may have changed in place; false where another file stands there now.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
    /// True where nobody has written for at least `age`.
    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.modified.and_then(|m| m.elapsed().ok()).is_some_and(|e| e >= age)
    }
}

/// A walk's findings.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Files to read, with their layer.
    pub(super) files: BTreeMap<PathBuf, (Stamp, u32)>,
    /// Directories whose entries matter: those walked, and those that links lead into.
    pub(super) directories: BTreeSet<PathBuf>,
    /// What could not be looked at; what stands below may still be there.
    hidden: BTreeSet<PathBuf>,
    /// Why a root cannot be read.
    pub(super) lost: Option<String>,
}

impl Tree {
    /// Adds a directory with its subdirectories, or a file whatever its name.
    pub(super) fn add(&mut self, root: &Path, layer: u32) {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {
                if let Err(error) = self.directory(root, layer, &mut Vec::new()) {
                    self.lose(root, &error);
                }
            }
            Ok(metadata) => {
                self.directories.extend(root.parent().map(|p| if p.as_os_str().is_empty() { PathBuf::from(".") } else { p.to_owned() }));
                self.follow(root);
                self.files.insert(root.to_owned(), (Stamp::of(&metadata), layer));
            }
            Err(error) => self.lose(root, &error),
        }
    }

    /// Adds a file that was read before, or says with `None` that it is none any more.
    pub(super) fn add_file(&mut self, path: &Path, layer: u32) -> Option<()> {
        let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
        self.files.insert(path.to_owned(), (Stamp::of(&metadata), layer));
        Some(())
    }

    /// True where `path` was not seen because something above it could not be looked at.
    pub(super) fn is_hidden(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.hidden.contains(above))
    }

    fn lose(&mut self, root: &Path, error: &std::io::Error) {
        self.lost = Some(format!("{}: {error}", root.display()));
        self.hidden.insert(root.to_owned());
        // Watching the nearest directory above tells when the root appears.
        self.directories.extend(root.ancestors().skip(1).find(|a| a.is_dir()).map(Path::to_owned));
    }

    /// `above` holds the directories on the way here, since a link may lead back to one of them.
    fn directory(&mut self, path: &Path, layer: u32, above: &mut Vec<(u64, u64)>) -> std::io::Result<()> {
        let metadata = fs::metadata(path)?;
        let identity = (metadata.dev(), metadata.ino());
        if above.contains(&identity) {
            return Ok(());
        }
        self.directories.insert(path.to_owned());
        above.push(identity);
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            if is_hidden_name(&path) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    if self.directory(&path, layer, above).is_err() {
                        self.hidden.insert(path);
                    }
                }
                Ok(metadata) if is_read(&path) => {
                    self.follow(&path);
                    self.files.insert(path, (Stamp::of(&metadata), layer));
                }
                // Not ours, or gone since the directory was listed: a link that leads nowhere is no file.
                Ok(_) | Err(_) => {}
            }
        }
        above.pop();
        Ok(())
    }

    /// Where a file is a link, changes happen in the directory that it leads into.
    fn follow(&mut self, path: &Path) {
        if fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) {
            let target = fs::canonicalize(path).ok();
            self.directories.extend(target.as_deref().and_then(Path::parent).map(Path::to_owned));
        }
    }
}

/// True for names that begin with a dot, which are not read.
pub(super) fn is_hidden_name(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."))
}

fn is_read(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known))
}

/// What reading a file gave.
pub(super) enum Content {
    /// All of it, as it stood when it was looked at.
    Whole(Vec<u8>),
    /// Nothing, and why.
    Refused(String),
    /// Somebody wrote to it meanwhile.
    Moving,
}

/// Reads the file that looked like `stamp`; never more than [`MAX_FILE`] bytes.
pub(super) fn read(path: &Path, stamp: &Stamp) -> Content {
    if stamp.size > MAX_FILE {
        return Content::Refused(format!("the file has {} MiB; at most {} MiB are read", stamp.size >> 20, MAX_FILE >> 20));
    }
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|mut file| {
        (&mut file).take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(Stamp::of(&file.metadata()?) == *stamp)
    });
    match read {
        Ok(true) => Content::Whole(bytes),
        Ok(false) => Content::Moving,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Content::Moving,
        Err(error) => Content::Refused(error.to_string()),
    }
}
