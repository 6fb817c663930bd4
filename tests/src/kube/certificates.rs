//! Certificates of API servers and of their clients, those that do not hold among them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ApiServer;

/// Names under which an API server presents another certificate of `ca.crt`: from when to when it holds.
pub(super) const SERVED: [(&str, &str, &str); 3] = [
    ("valid.test", "20200101000000Z", "21000101000000Z"),
    ("expired.test", "20200101000000Z", "20210203040506Z"),
    ("early.test", "20990102030405Z", "21000101000000Z"),
];

/// What `openssl ca` asks for.
const AUTHORITY: &str = "[ca]
default_ca = d
[d]
database = index.txt
new_certs_dir = .
serial = serial
default_md = sha256
policy = p
unique_subject = no
[p]
commonName = supplied
[ext]
subjectAltName = DNS:";

fn openssl(folder: &Path, args: &[&str]) {
    let done = Command::new("openssl").args(args).current_dir(folder).output().expect("this test needs openssl: apt-get install openssl");
    assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A file as kubeconfigs and secrets hold it.
pub fn base64(path: &Path) -> String {
    let done = Command::new("openssl").args(["base64", "-A", "-in"]).arg(path).output().expect("this test needs openssl: apt-get install openssl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("base64 is text")
}

/// Makes what an API server needs to start.
pub(super) fn make(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a temporary folder can be written");
    openssl(folder, &["genrsa", "-out", "sa.key", "2048"]);
    openssl(folder, &["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=clients", "-days", "2"]);
    write("client.ext", "extendedKeyUsage=clientAuth\n");
    write("index.txt", "");
    write("serial", "1000");
    for (name, from, until) in SERVED {
        let [key, asked, certificate] = ["key", "csr", "crt"].map(|kind| format!("{name}.{kind}"));
        openssl(folder, &["req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &asked, "-subj", &format!("/CN={name}")]);
        write("ca.cnf", &format!("{AUTHORITY}{name}\n"));
        let authority = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key", "-extensions", "ext"];
        openssl(folder, &[&authority[..], &["-in", &asked, "-out", &certificate, "-startdate", from, "-enddate", until]].concat());
    }
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {level: Metadata, verbs: [list, watch]}\n- {level: None}\n";
    write("audit.yaml", policy);
}

impl ApiServer {
    /// The certificate of the authority of clients, which also issued those of `SERVED`.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A certificate of an administrator and its key, as PEM files; it ends so many days from now.
    pub fn certificate(&self, days: i32) -> (PathBuf, PathBuf) {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let [key, asked, certificate] = ["key", "csr", "crt"].map(|kind| format!("admin{number}.{kind}"));
        openssl(&self.folder, &["req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &asked, "-subj", "/O=system:masters/CN=admin"]);
        let sign = ["x509", "-req", "-in", &asked, "-CA", "ca.crt", "-CAkey", "ca.key", "-out", &certificate];
        openssl(&self.folder, &[&sign[..], &["-set_serial", "1", "-days", &days.to_string(), "-extfile", "client.ext"]].concat());
        (self.folder.join(certificate), self.folder.join(key))
    }
}
