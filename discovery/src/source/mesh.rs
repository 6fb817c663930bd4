//! MeshConfig in a file: read again when the file differs, and in force at once; a file that cannot be read keeps the last
//! good version, and says so.
//!
//! The file is looked at once a second, links followed, since a mounted ConfigMap changes by a link two folders up. It is
//! taken when it looks the same twice.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isthmus_config::mesh::MeshConfig;
use isthmus_config::problem::{Problem, Severity};
use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use super::{Batch, Event, SourceId};
use crate::settings::not_yet;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// How the file looks from outside.
type Look = Option<(u64, u64, u64, i64, i64)>;

fn look(path: &Path) -> Look {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// Reads the file: what is in it, and what is worth saying of it.
pub(crate) fn read(path: &Path) -> Result<(MeshConfig, Vec<Problem>), Vec<Problem>> {
    let unreadable = |error| vec![Problem::new(Severity::Error, "ISM0202", format!("meshFile {}: {error}", path.display()))];
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let (mesh, mut warnings) = MeshConfig::parse(&text, path)?;
    warnings.extend(not_yet(&mesh));
    Ok((mesh, warnings))
}

/// Follows the file until nobody listens. What it held at the start is known.
pub(crate) async fn follow(path: PathBuf, source: SourceId, file: Arc<str>, tell: Sender<Batch>) {
    let (mut taken, mut last) = (look(&path), None);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = tell.closed() => return,
        }
        let now = look(&path);
        if now == taken || last.replace(now) != Some(now) {
            continue;
        }
        taken = now;
        let batch = match read(&path) {
            Ok((mesh, warnings)) => {
                info!(%file, "mesh config read again");
                vec![Event::Problems(source.clone(), file.clone(), warnings), Event::Mesh(Arc::new(mesh))]
            }
            Err(problems) => {
                warn!(%file, problems = problems.len(), "mesh config is broken, its last good version stays in force");
                vec![Event::Problems(source.clone(), file.clone(), problems)]
            }
        };
        if tell.send(batch).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use isthmus_config::bootstrap::Bootstrap;
    use tokio::sync::mpsc::channel;

    use super::super::Via;
    use super::*;
    use crate::{Registry, Settings};

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_and_a_broken_one_keeps_what_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mesh.yaml");
        let put = |text: &str| {
            std::fs::write(folder.path().join("next"), text).expect("a file");
            std::fs::rename(folder.path().join("next"), &path).expect("a file");
        };
        put("rootNamespace: a\n");
        let (tell, mut told) = channel(4);
        let source = SourceId("c".into(), Via::Files);
        let following = tokio::spawn(follow(path.clone(), source, path.display().to_string().into(), tell));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(told.try_recv().is_err(), "nothing differs");
        put("rootNamespace: b\n");
        let batch = told.recv().await.expect("a change");
        assert!(
            matches!(&batch[..], [Event::Problems(_, _, none), Event::Mesh(mesh)] if none.is_empty() && &*mesh.root_namespace == "b"),
            "{batch:?}"
        );
        put("rootNamespace: [\n");
        let batch = told.recv().await.expect("a change");
        assert!(matches!(&batch[..], [Event::Problems(_, file, some)] if !some.is_empty() && file.ends_with("mesh.yaml")), "{batch:?}");
        std::fs::remove_file(&path).expect("a file");
        let batch = told.recv().await.expect("a change");
        assert!(matches!(&batch[..], [Event::Problems(_, _, some)] if some[0].code == "ISM0202"), "{batch:?}");
        put("rootNamespace: c\n");
        let batch = told.recv().await.expect("a change");
        assert!(matches!(&batch[..], [Event::Problems(_, _, none), Event::Mesh(_)] if none.is_empty()), "{batch:?}");
        drop(told);
        following.await.expect("it ends");
    }
    #[test]
    fn what_is_said_of_the_file_at_the_start_is_taken_back_when_it_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("mesh.yaml"), "discoverySelectors: [{matchLabels: {a: b}}]\n").expect("a file");
        let yaml = "clusters: [{name: c1, path: a}]\ngateway: {cluster: c1}\nmeshFile: mesh.yaml\n";
        let (bootstrap, _) = Bootstrap::parse(yaml, &folder.path().join("isthmus.yaml")).expect("isthmus.yaml");
        let (settings, of_isthmus_yaml) = Settings::load(&bootstrap).expect("settings");
        assert!(of_isthmus_yaml.is_empty(), "it is no part of isthmus.yaml: {of_isthmus_yaml:?}");
        let (source, file) = settings.mesh_source().expect("a file");
        let mut registry = Registry::new(settings);
        let told = |registry: &Registry| registry.problems().iter().map(|p| p.path.clone()).collect::<Vec<_>>();
        assert_eq!(told(&registry), ["mesh.discoverySelectors"]);
        registry.apply(Event::Problems(source, file, Vec::new()));
        assert_eq!(told(&registry), [""; 0]);
    }
}
