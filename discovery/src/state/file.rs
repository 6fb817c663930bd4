//! One kept kind: how its lines are written and read.
//!
//! `isthmus-state 1 CLUSTER KIND`, then records `CHECKSUM P APIVERSION JSON`, `CHECKSUM D NAMESPACE/NAME` and, after the
//! last object of a list, `CHECKSUM E COUNT`. The checksum is XXH64 of the rest of the line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use xxhash_rust::xxh64::xxh64;

use super::Kept;
use super::queue::{Fate, Fates};

/// Changes may take so many bytes more than their list before the file is written anew.
const SLACK: u64 = 1 << 20;

/// The first line of a kind's file.
pub(super) fn head(cluster: &ClusterId, kind: Kind) -> String {
    format!("isthmus-state 1 {cluster:?} {kind}", cluster = cluster.as_str())
}

/// A file being written.
#[derive(Debug)]
pub(super) struct Open {
    out: BufWriter<File>,
    head: String,
    /// Where it is written until its list is complete.
    aside: PathBuf,
    /// Its place, once its list is complete.
    place: Option<PathBuf>,
    /// Namespace and name of objects whose record is taken over from the file that is replaced.
    taken_over: BTreeSet<(String, String)>,
    count: u64,
    listed: u64,
    written: u64,
}

impl Open {
    /// Begins a list beside the file that is to be replaced.
    pub(super) fn aside(path: &Path, head: &str) -> std::io::Result<Self> {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let aside = path.with_extension("new");
        let mut out = BufWriter::new(File::create(&aside)?);
        writeln!(out, "{head}")?;
        Ok(Self { out, head: head.to_owned(), aside, place: None, taken_over: BTreeSet::new(), count: 0, listed: 0, written: 0 })
    }

    fn record(&mut self, rest: &str) -> std::io::Result<()> {
        self.written += rest.len() as u64;
        writeln!(self.out, "{:016x} {rest}", xxh64(rest.as_bytes(), 0))
    }

    /// Does to objects what they are told to become.
    pub(super) fn write(&mut self, fates: Fates) -> std::io::Result<()> {
        for (object, fate) in fates {
            // What is told of an object later than that it stays is what counts.
            self.taken_over.remove(&(object.namespace.to_string(), object.name.to_string()));
            match fate {
                Fate::Put(api_version, json) => self.put(&api_version, &json)?,
                Fate::Delete => self.delete(&object)?,
                Fate::Keep => self.keep(&object),
            }
        }
        Ok(())
    }

    fn put(&mut self, api_version: &str, json: &str) -> std::io::Result<()> {
        self.count += 1;
        self.record(&format!("P {api_version} {json}"))?;
        self.tidy()
    }

    fn delete(&mut self, object: &ObjectRef) -> std::io::Result<()> {
        self.record(&format!("D {}/{}", object.namespace, object.name))?;
        self.tidy()
    }

    /// What is kept of an object stays. A file whose list is complete holds it already.
    fn keep(&mut self, object: &ObjectRef) {
        if self.place.is_none() {
            self.taken_over.insert((object.namespace.to_string(), object.name.to_string()));
        }
    }

    /// The list is complete: the file takes its place.
    pub(super) fn complete(&mut self, path: &Path) -> std::io::Result<()> {
        let taken_over = std::mem::take(&mut self.taken_over);
        if !taken_over.is_empty()
            && let Ok(Stored::Whole(kept)) = read(path, &self.head)
        {
            let named = kept.into_iter().filter(|(_, json)| identity(json).is_some_and(|name| taken_over.contains(&name)));
            for (api_version, json) in named {
                self.put(&api_version, &json)?;
            }
        }
        self.record(&format!("E {}", self.count))?;
        self.out.flush()?;
        self.out.get_ref().sync_data()?;
        std::fs::rename(&self.aside, path)?;
        self.place = Some(path.to_owned());
        (self.listed, self.written) = (self.written, 0);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    /// Writes the file anew when changes outweigh the list.
    fn tidy(&mut self) -> std::io::Result<()> {
        let Some(place) = self.place.clone().filter(|_| self.written > self.listed + SLACK) else { return Ok(()) };
        self.out.flush()?;
        let kept = match read(&place, &self.head) {
            Ok(Stored::Whole(kept)) => kept,
            Ok(Stored::Missing) => Vec::new(),
            Err(reason) => return Err(std::io::Error::other(reason)),
        };
        let mut new = Self::aside(&place, &self.head)?;
        for (api_version, json) in kept {
            new.put(&api_version, &json)?;
        }
        new.complete(&place)?;
        *self = new;
        Ok(())
    }
}

/// What a file holds.
#[derive(Debug, PartialEq)]
pub(super) enum Stored {
    Whole(Kept),
    Missing,
}

/// Reads a file, or says why it cannot be trusted.
pub(super) fn read(path: &Path, head: &str) -> Result<Stored, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stored::Missing),
        Err(error) => return Err(error.to_string()),
    };
    let mut lines = text.split_inclusive('\n').enumerate().peekable();
    if lines.next().map(|(_, line)| line.trim_end_matches('\n')) != Some(head) {
        return Err(format!("its first line is not {head:?}"));
    }
    let mut kept: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
    let (mut is_listed, mut count) = (false, 0u64);
    while let Some((number, line)) = lines.next() {
        let Some(record) = checked(line) else {
            if is_listed && lines.peek().is_none() {
                break;
            }
            return Err(format!("line {} is damaged", number + 1));
        };
        let Some((what, rest)) = record.split_once(' ') else { return Err(format!("line {} is no record", number + 1)) };
        let taken = match what {
            "P" => rest.split_once(' ').and_then(|(api_version, json)| {
                count += 1;
                kept.insert(identity(json)?, (api_version.to_owned(), json.to_owned()));
                Some(())
            }),
            "D" => rest.split_once('/').map(|(namespace, name)| drop(kept.remove(&(namespace.to_owned(), name.to_owned())))),
            "E" => (rest.parse() == Ok(count)).then(|| is_listed = true),
            _ => None,
        };
        if taken.is_none() {
            return Err(format!("line {} is no record", number + 1));
        }
    }
    if is_listed { Ok(Stored::Whole(kept.into_values().collect())) } else { Err("its list is not complete".to_owned()) }
}

/// A whole line without its checksum.
fn checked(line: &str) -> Option<&str> {
    let (sum, rest) = line.strip_suffix('\n')?.split_once(' ')?;
    (u64::from_str_radix(sum, 16).ok()? == xxh64(rest.as_bytes(), 0)).then_some(rest)
}

fn identity(json: &str) -> Option<(String, String)> {
    let head: crate::source::kube::Head = serde_json::from_str(json).ok()?;
    Some((head.metadata.namespace, head.metadata.name))
}
