//! Lists and watches against a server that follows a script: what each answer leads to.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use isthmus_config::object::Kind;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::access::{Access, Door};
use super::reflect::{Take, reflect};
use super::request::Head;
use super::resource::Resource;
use crate::source::Batch;

/// Writes down what it is told, a word each.
struct Told(UnboundedSender<String>);

impl Told {
    fn say(&self, word: impl Into<String>) {
        // The test may have heard enough.
        let _ = self.0.send(word.into());
    }
}

impl Take for Told {
    fn begin(&mut self, _: &mut Batch) {
        self.say("[");
    }
    fn take(&mut self, _: &str, _: &str, head: &Head, _: &mut Batch) {
        self.say(head.metadata.name.as_str());
    }
    fn gone(&mut self, head: &Head, _: &mut Batch) {
        self.say(format!("-{}", head.metadata.name));
    }
    fn done(&mut self, _: &mut Batch) {
        self.say("]");
    }
    fn lost(&mut self, reason: &str, _: &mut Batch) {
        self.say(format!("lost: {reason}"));
    }
    fn resumed(&mut self, _: &mut Batch) {
        self.say("resumed");
    }
    fn holds_any(&self) -> bool {
        false
    }
    async fn tell(&mut self, _: Batch) -> bool {
        !self.0.is_closed()
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn ok(body: &str) -> String {
    answer("200 OK", body)
}

fn list(names: &[&str], version: u32, more: &str) -> String {
    let items: Vec<String> = names.iter().map(|n| format!(r#"{{"metadata":{{"name":"{n}","resourceVersion":"{version}"}}}}"#)).collect();
    ok(&format!(r#"{{"metadata":{{"resourceVersion":"{version}","continue":"{more}"}},"items":[{}]}}"#, items.join(",")))
}

fn event(said: &str, name: &str, version: u32) -> String {
    format!("{{\"type\":\"{said}\",\"object\":{{\"metadata\":{{\"name\":\"{name}\",\"resourceVersion\":\"{version}\"}}}}}}\n")
}

const GONE: &str = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"too old\"}}\n";

/// Plays the answers in turn; returns what was asked and what was told, up to the first `until`.
async fn play(kind: Kind, answers: Vec<String>, until: &str) -> (Vec<String>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut lines = BufReader::new(stream.try_clone().expect("a socket can be shared"));
            lines.read_line(&mut line).expect("a request");
            while lines.read_line(&mut String::new()).is_ok_and(|n| n > 2) {}
            let uri = line.split(' ').nth(1).unwrap_or_default();
            let said = uri.split('&').filter(|part| part.starts_with("resourceVersion") || part.starts_with("continue"));
            heard.lock().expect("nobody panics here").push(said.collect::<Vec<_>>().join("&"));
            let Some(answer) = answers.next() else { return };
            // Who was cut off does not read.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    );
    let (tell, mut told) = unbounded_channel();
    let door = Door::new("c".into(), Access::of_secret(&kubeconfig).expect("a kubeconfig"));
    let reflecting = tokio::spawn(async move { reflect(&door, &Resource::of(kind), &mut Told(tell)).await });
    let mut words = Vec::new();
    while words.last().is_none_or(|w| w != until) {
        words.push(told.recv().await.expect("the reflector goes on"));
    }
    reflecting.abort();
    let asked = asked.lock().expect("nobody panics here").clone();
    (asked, words)
}

#[tokio::test]
async fn a_watch_goes_on_where_it_stopped_and_lists_again_only_when_it_must() {
    let answers = vec![
        list(&["a", "b"], 5, ""),
        ok(&format!("{}{}", event("ADDED", "c", 6), event("BOOKMARK", "", 9))),
        ok(&event("DELETED", "a", 10)),
        ok(&format!("{}{GONE}", event("MODIFIED", "b", 11))),
        list(&["b", "d"], 20, ""),
        ok(&event("ADDED", "end", 21)),
    ];
    let (asked, told) = play(Kind::Service, answers, "end").await;
    assert_eq!(told, ["[", "a", "b", "]", "c", "-a", "b", "[", "b", "d", "]", "end"]);
    assert_eq!(asked[..6], ["", "resourceVersion=5", "resourceVersion=9", "resourceVersion=10", "", "resourceVersion=20"]);
}

#[tokio::test]
async fn a_list_that_breaks_off_is_never_complete() {
    let answers = vec![
        list(&["a", "b"], 5, ""),
        answer("410 Gone", "{}"),
        list(&["a"], 6, "more"),
        answer("500 Internal Server Error", r#"{"message":"no"}"#),
        list(&["a"], 7, "more"),
        list(&["b"], 7, ""),
        ok(&event("ADDED", "end", 8)),
    ];
    let (asked, told) = play(Kind::Service, answers, "end").await;
    assert_eq!(told, ["[", "a", "b", "]", "[", "a", "lost: no (500)", "[", "a", "b", "]", "end"]);
    assert_eq!(asked[2..6], ["", "continue=more", "", "continue=more"]);
}

#[tokio::test]
async fn what_is_no_list_and_who_is_not_let_in_take_nothing_away() {
    let answers = vec![
        answer("403 Forbidden", r#"{"message":"services is forbidden"}"#),
        ok("{}garbage"),
        ok(r#"{"items":null,"metadata":{"resourceVersion":"3"}}"#),
        answer("503 Service Unavailable", "starting"),
        answer("503 Service Unavailable", "starting"),
        answer("401 Unauthorized", r#"{"message":"who are you"}"#),
        answer("401 Unauthorized", r#"{"message":"who are you"}"#),
        list(&["a"], 3, "more"),
        ok(&event("ADDED", "end", 4)),
    ];
    let (_, told) = play(Kind::Service, answers, "end").await;
    let first = ["lost: services is forbidden (403)", "lost: not a list of Service: trailing characters at line 1 column 3", "[", "]"];
    assert_eq!(told[..4], first);
    assert_eq!(told[4..], ["lost: the API server answers 503", "lost: who are you (401)", "resumed", "end"]);
}

#[tokio::test]
async fn one_try_that_fails_fast_is_not_worth_a_word() {
    let newest = |version| list(&["a"], version, "more");
    let answers = vec![
        list(&["a"], 5, ""),
        String::new(),
        newest(5),
        ok(&event("ADDED", "b", 6)),
        String::new(),
        String::new(),
        newest(6),
        ok(&event("ADDED", "end", 7)),
    ];
    let (_, told) = play(Kind::Service, answers, "end").await;
    let lost = told.iter().position(|word| word.starts_with("lost")).expect("the second one is");
    assert_eq!(told[..lost], ["[", "a", "]", "b"]);
    assert_eq!(told[lost + 1..], ["resumed", "end"]);
}

#[tokio::test]
async fn an_api_server_that_was_set_back_is_listed_anew() {
    for (newest, want) in [(4, ["[", "a", "b", "]", "[", "a", "]"].as_slice()), (5, &["[", "a", "b", "]"]), (9, &["[", "a", "b", "]"])] {
        let is_behind = newest < 5;
        let mut answers = vec![list(&["a", "b"], 5, ""), String::new(), list(&["a"], newest, "more")];
        answers.extend(is_behind.then(|| list(&["a"], newest, "")));
        answers.push(ok(&event("ADDED", "end", newest + 1)));
        let (asked, told) = play(Kind::Service, answers, "end").await;
        assert_eq!(told[..told.len() - 1], *want, "{newest}");
        let from = if is_behind { format!("resourceVersion={newest}") } else { "resourceVersion=5".to_owned() };
        assert_eq!(asked.get(if is_behind { 4 } else { 3 }), Some(&from));
    }
}

#[tokio::test]
async fn the_best_version_that_is_served_is_read() {
    let answers = vec![answer("404 Not Found", "{}"), list(&["a"], 1, ""), ok(&event("ADDED", "end", 2))];
    let (_, told) = play(Kind::Gateway, answers, "end").await;
    assert_eq!(told, ["[", "a", "]", "end"]);
}
