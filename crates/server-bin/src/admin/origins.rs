//! `config show`: every setting, what it is, and who said so.

use std::fmt;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::admin::Item;
use crate::args::Serve;
use crate::config::{FileOptions, Settings};
use crate::failure::Failure;
use crate::options::Options;

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingItem {
    pub(crate) name: String,
    /// Null when nothing holds.
    pub(crate) value: Value,
    #[serde(flatten)]
    pub(crate) origin: Origin,
}

/// Who said what a setting is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "kebab-case")]
pub(crate) enum Origin {
    Flag,
    Variable { variable: String },
    File { file: PathBuf },
    Default,
}

/// Where to look for who said what a setting is.
pub(crate) struct Origins<'a> {
    /// Of the command line that flags and variables are from.
    matches: &'a ArgMatches,
    said: Map<String, Value>,
    in_file: Map<String, Value>,
    file: Option<PathBuf>,
}

impl<'a> Origins<'a> {
    /// `said` comes from the command line with these `matches`, and from the environment.
    pub(crate) fn new(said: &Options, matches: &'a ArgMatches, file: &FileOptions) -> Self {
        Self { matches, said: named(said), in_file: named(&file.options), file: file.path.clone() }
    }

    /// Who said what the setting of this name is.
    pub(crate) fn of(&self, name: &str) -> Origin {
        let is_said = |values: &Map<String, Value>| values.get(name).is_some_and(|value| !value.is_null());
        if is_said(&self.said) {
            return match self.matches.value_source(&name.replace('-', "_")) {
                Some(ValueSource::EnvVariable) => Origin::Variable { variable: variable(name) },
                _ => Origin::Flag,
            };
        }
        match &self.file {
            Some(path) if is_said(&self.in_file) => Origin::File { file: path.clone() },
            _ => Origin::Default,
        }
    }
}

/// Tells the settings that `serve` would have; `matches` are those of the command line that `said` comes from.
///
/// # Errors
/// [`Failure`] when `serve` would not take them.
pub(crate) fn show(said: &Serve, matches: &ArgMatches, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
    let file = FileOptions::of(&said.options, said.config.as_deref())?;
    let origins = Origins::new(&said.options, matches, &file);
    let holds = Settings::from_options(said.options.clone().or(file.options))?;
    for (name, value) in named(&holds.as_options()) {
        let origin = origins.of(&name);
        emit(Item::Setting(SettingItem { name, value, origin }));
    }
    Ok(())
}

/// Options by the names that files have for them.
pub(crate) fn named(options: &Options) -> Map<String, Value> {
    match serde_json::to_value(options) {
        Ok(Value::Object(values)) => values,
        other => unreachable!("options are a structure: {other:?}"),
    }
}

fn variable(name: &str) -> String {
    format!("BACKUP_SERVER_{}", name.replace('-', "_").to_uppercase())
}

impl SettingItem {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let value = match &self.value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(values) if values.is_empty() => "-".to_owned(),
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            value => value.to_string(),
        };
        format!("{:24} {value:24} {}", self.name, self.origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable { variable } => f.write_str(variable),
            Self::File { file } => write!(f, "{}", file.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Arguments;

    /// What the help says of defaults is so, and every variable has the name that is told here.
    #[test]
    fn defaults_and_variables_are_those_of_the_help() {
        let said = Options { data_dir: Some(PathBuf::from("/srv/backup")), ..Options::default() };
        let holds = named(&Settings::from_options(said).unwrap().as_options());
        let command = Arguments::command();
        let serve = command.find_subcommand("serve").unwrap();
        for (name, value) in &holds {
            let argument = serve.get_arguments().find(|argument| argument.get_long() == Some(name)).unwrap();
            assert_eq!(argument.get_env().unwrap().to_str(), Some(variable(name).as_str()));
            let help = argument.get_help().unwrap().to_string();
            if let Some((_, default)) = help.split_once("[default: ") {
                let default = default.trim_end_matches(']');
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                assert!(value == default || name == "address", "{name} is {value}, and the help says {default}");
            }
        }
    }
}
