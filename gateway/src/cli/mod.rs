//! The command line: what each command does, and how it is printed.

mod args;
mod check;
mod client;
mod demo;
mod diagnostic;
mod explain;
mod get;
mod invite;
mod matrix;
mod out;
mod print;
mod try_;
mod vm;
mod whatif;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use isthmus_config::problem::Severity;

use crate::admin::Now;
use crate::app::App;
use crate::asked::{Asked, Refused};
use crate::log::Levels;
use args::{Cli, Command, Run, Where};
use diagnostic::Printer;
pub(crate) use diagnostic::place;
use out::{Exit, Out};

/// Runs the command that was asked for, and says with what to exit.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let shown = error.print().is_ok();
            let code = if !error.use_stderr() && shown { Exit::Done } else { Exit::Usage };
            return code.into();
        }
    };
    let out = Out::new(cli.color);
    let done = match cli.command {
        Command::Run(run) => serve(out, &run),
        Command::Try(asked) => try_::run(out, &asked),
        Command::Demo(demo) => demo::run(out, &demo),
        Command::Check(check) => check::run(out, &check),
        Command::Explain(explain) => explain::run(out, &explain),
        Command::Whatif(asked) => whatif::run(out, &asked),
        Command::Get(get) => get::run(out, &get),
        Command::Vm(asked) => vm::run(out, &asked),
        Command::RemoteSecret(asked) => invite::run(out, &asked),
        Command::Version => {
            out.data(&format!("isthmus {}\n", env!("CARGO_PKG_VERSION")));
            Ok(Exit::Done)
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "isthmus", &mut script);
            out.data(&String::from_utf8_lossy(&script));
            Ok(Exit::Done)
        }
    };
    let code = match done {
        Ok(code) => code,
        Err(failed) => failed.tell(out),
    };
    code.into()
}

/// `isthmus run`.
fn serve(out: Out, run: &Run) -> Done {
    let path = match (&run.config, &run.directory) {
        (Some(path), _) | (None, Some(path)) => path.as_path(),
        (None, None) if !Path::new("isthmus.yaml").exists() => {
            return Err(Failed::Usage("there is no isthmus.yaml here: give a directory, or --config FILE".to_owned()));
        }
        (None, None) => Path::new("isthmus.yaml"),
    };
    let asked = Asked::read(path)?;
    let mut printer = Printer::new(out.color_messages);
    asked.problems.iter().for_each(|p| out.message(&printer.problem(p)));
    let levels = Levels::start(run.log_level.as_deref()).map_err(|e| Failed::Usage(e.to_string()))?;
    let app = App::start(asked, levels).map_err(|e| Failed::Other(e.to_string()))?;
    app.until_signal().map_err(|e| Failed::Other(e.to_string()))?;
    Ok(Exit::Done)
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The command line asks for what does not go together.
    Usage(String),
    /// A file cannot be read, or says what it must not.
    Input(Refused),
    /// Anything else.
    Other(String),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Input(refused)
    }
}

impl Failed {
    fn tell(self, out: Out) -> Exit {
        match self {
            Self::Usage(reason) => {
                out.error(&reason);
                Exit::Usage
            }
            Self::Input(Refused::Wrong(problems)) => {
                let mut printer = Printer::new(out.color_messages);
                problems.iter().for_each(|p| out.message(&printer.problem(p)));
                Exit::Unreadable
            }
            Self::Input(refused @ Refused::Unreadable(_)) => {
                out.error(&refused.to_string());
                Exit::Unreadable
            }
            Self::Other(reason) => {
                out.error(&reason);
                Exit::Failed
            }
        }
    }
}

/// What a command comes to.
pub(crate) type Done = Result<Exit, Failed>;

impl Where {
    /// The world of `--config`; `None` where a running gateway is meant.
    fn asked(&self) -> Result<Option<Asked>, Failed> {
        Ok(self.config.as_deref().map(Asked::read).transpose()?)
    }
    /// The admin port to ask.
    fn admin(&self) -> &str {
        self.admin.as_deref().unwrap_or(args::ADMIN)
    }
}

/// The world of isthmus.yaml as it is now. Says what of it was read where, and that isthmus.yaml or MeshConfig have warnings,
/// which are no part of an answer about routes.
fn offline(out: Out, asked: &Asked) -> Now {
    if let Some(first) = asked.problems.first() {
        let text = format!("{} has {}; `isthmus check --config` shows them", first.origin.file, out::count(asked.problems.len(), "warning"));
        out.message(&out.paint_message(out::Paint::Dim, &text));
    }
    let now = Now::offline(asked, Vec::new(), Severity::Error);
    say_read(out, &now.read);
    now
}

/// Says what was read of each API server.
fn say_read(out: Out, read: &[String]) {
    read.iter().for_each(|line| out.message(&out.paint_message(out::Paint::Dim, line)));
}
