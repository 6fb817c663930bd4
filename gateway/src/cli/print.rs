//! Data as JSON or YAML.

use serde::Serialize;

use super::Failed;
use super::args::Form;
use super::out::Out;

/// Prints `data` where a form for programs is asked for; `table` says it for people.
pub(crate) fn print<T: Serialize>(out: Out, form: Form, data: &T, table: impl FnOnce(bool) -> String) -> Result<(), Failed> {
    let failed = |e: &dyn std::fmt::Display| Failed::Other(format!("not printed: {e}"));
    let text = match form {
        Form::Table => table(false),
        Form::Wide => table(true),
        Form::Json => serde_json::to_string_pretty(data).map_err(|e| failed(&e))? + "\n",
        Form::Yaml => serde_yaml::to_string(data).map_err(|e| failed(&e))?,
    };
    out.data(&text);
    Ok(())
}
