//! `isthmus demo`: the main job on made-up clusters, in one terminal, without root and without a network.
//!
//! Three file clusters and two VMs are written to a directory that a person may edit; their pods are threads of this process.
//! The play shows routing by host, a canary, a header route, and what editing a file does.

mod backends;
mod world;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use super::args::Demo;
use super::client::Request;
use super::out::{Exit, Out, Paint, chart};
use super::try_::{Tally, plain, register, send};
use super::{Done, Failed};
use crate::app::App;
use crate::asked::Asked;
use crate::log::Levels;
use world::{EDITED, Ports};

/// Requests of each scene.
const REQUESTS: u32 = 100;
/// How long a change may take to be in force before the play says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `isthmus demo`.
pub(super) fn run(out: Out, demo: &Demo) -> Done {
    let other = |e: io::Error| Failed::Other(e.to_string());
    let directory = demo.dir.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("isthmus-demo-{}", std::process::id())));
    let ports = ports().map_err(other)?;
    world::write(&directory, ports).map_err(other)?;
    let directory = directory.canonicalize().map_err(other)?;
    backends::start(&world::backends()).map_err(other)?;
    let asked = Asked::read(&directory.join("isthmus.yaml"))?;
    let app = App::start(asked, Levels::silent()).map_err(|e| Failed::Other(e.to_string()))?;
    until(|| app.ready.check().is_ok()).map_err(Failed::Other)?;
    let stage = Stage { out, directory, gateway: (Ipv4Addr::LOCALHOST, ports.http).into(), admin: format!("http://{}", app.admin) };
    out.data(&stage.greeting(ports));
    let played = stage.play();
    if demo.once || played.is_err() {
        app.stop();
        if demo.once && demo.dir.is_none() {
            fs::remove_dir_all(&stage.directory).map_err(other)?;
        }
        return played.map(|()| Exit::Done);
    }
    out.data(&format!("\nserving on, edit the files in {} and try again; Ctrl-C ends\n", stage.directory.display()));
    app.until_signal().map_err(|e| Failed::Other(e.to_string()))?;
    Ok(Exit::Done)
}

/// The usual ports where they are free, else any.
fn ports() -> io::Result<Ports> {
    let mut held = Vec::new();
    let mut free = |usual: u16| {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, usual)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let port = socket.local_addr()?.port();
        // Held until all are chosen, so that no two are the same.
        held.push(socket);
        io::Result::Ok(port)
    };
    Ok(Ports { http: free(8080)?, admin: free(15000)?, status: free(15021)?, metrics: free(15090)? })
}

/// Waits until `done`, or says that it did not come.
fn until(mut done: impl FnMut() -> bool) -> Result<Duration, String> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("not in force after {} s", PATIENCE.as_secs()));
        }
        park_timeout(Duration::from_millis(5));
    }
    Ok(begun.elapsed())
}

/// Where the play is played.
struct Stage {
    out: Out,
    directory: PathBuf,
    gateway: SocketAddr,
    admin: String,
}

impl Stage {
    fn greeting(&self, ports: Ports) -> String {
        let admin = if ports.admin == 15000 { String::new() } else { format!(" --admin {}", self.admin) };
        let gateway = self.gateway;
        let me = std::env::args().next().unwrap_or_else(|| "isthmus".to_owned());
        let lines = [
            format!("{} serves three clusters and two VMs on http://{gateway}", self.out.paint(Paint::Bold, "isthmus")),
            format!("files    {}", self.directory.display()),
            format!("by hand  curl -H 'Host: reviews.demo' http://{gateway}/"),
            format!("         {me} try http://reviews.demo/ -n 100{admin}"),
            format!("         {me} explain http://reviews.demo/ -H 'x-user: jason'{admin}"),
            format!("         {me} get endpoints{admin}"),
        ];
        lines.join("\n") + "\n"
    }

    fn play(&self) -> Result<(), Failed> {
        let nonce = register(&self.admin)?;
        let ask = |host: &str, header: Option<(&str, &str)>, number: u32| {
            let headers = header.map(|(n, v)| (n.to_owned(), v.to_owned())).into_iter().chain([nonce.clone()]).collect();
            let request = Request { method: "GET".to_owned(), target: "/".to_owned(), host: host.to_owned(), headers, body: Vec::new() };
            send(self.gateway, &request, number, 3)
        };
        self.scene("1. each host its own service: bookinfo.demo is pods of three clusters");
        let tally = ask("bookinfo.demo", None, REQUESTS);
        self.show(&tally, |t| &t.endpoints);
        self.show(&tally, |t| &t.zones);
        self.scene("   httpd.vm.demo is two VMs, from a ServiceEntry and two WorkloadEntries");
        self.show(&ask("httpd.vm.demo", None, REQUESTS), |t| &t.endpoints);
        self.scene("   a host that nobody asked for is answered 404");
        self.show(&ask("unknown.example", None, 10), |t| &t.codes);
        self.scene("2. a canary: reviews.demo, 90 % subset v1, 10 % subset v2");
        self.show(&ask("reviews.demo", None, 2 * REQUESTS), |t| &t.backends);
        self.scene("3. testers: with `x-user: jason` subset v3");
        self.show(&ask("reviews.demo", Some(("x-user", "jason")), REQUESTS), |t| &t.backends);
        self.scene(&format!("4. {EDITED} loses its endpoints"));
        let file = self.directory.join(EDITED);
        let before = fs::read_to_string(&file).map_err(|e| Failed::Other(e.to_string()))?;
        self.edit(&file, &world::without_endpoints(&before))?;
        let answered_by = |cluster: &str| ask("bookinfo.demo", None, 12).clusters.contains_key(cluster);
        let took = until(|| !answered_by("cluster2")).map_err(Failed::Other)?;
        self.show(&ask("bookinfo.demo", None, REQUESTS), |t| &t.clusters);
        self.out.data(&format!("  in force {} ms after the file was written\n", took.as_millis()));
        self.scene("   and has them again");
        self.edit(&file, &before)?;
        until(|| answered_by("cluster2")).map_err(Failed::Other)?;
        self.show(&ask("bookinfo.demo", None, REQUESTS), |t| &t.clusters);
        Ok(())
    }

    /// Replaces a file as editors do: written beside, then renamed.
    fn edit(&self, file: &Path, text: &str) -> Result<(), Failed> {
        let beside = file.with_file_name(".edited.tmp");
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, file)).map_err(|e| Failed::Other(e.to_string()))
    }

    fn scene(&self, title: &str) {
        self.out.data(&format!("\n{}\n", self.out.paint(Paint::Bold, title)));
    }

    fn show(&self, tally: &Tally, what: impl Fn(&Tally) -> &std::collections::BTreeMap<String, u64>) {
        let rows: Vec<(String, u64)> = what(tally).iter().map(|(name, count)| (plain(name), *count)).collect();
        self.out.data(&chart(self.out, &rows));
    }
}
