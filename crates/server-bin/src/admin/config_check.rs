//! `config check`: tells all that `serve` would refuse of its settings and of what they name, without starting anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, CommandFactory};
use serde::{Deserialize, Serialize};
use toml::Value;
use toml::de::DeTable;

use crate::admin::Item;
use crate::admin::doctor::{self, CheckState};
use crate::admin::origins::{Origin, Origins, named};
use crate::args::{Arguments, Serve};
use crate::clock;
use crate::config::{FileOptions, Settings};
use crate::failure::Failure;
use crate::home::keys_dir;
use crate::identity::Identity;
use crate::mirror;
use crate::options::Options;
use crate::private_files;

const VARIABLE_PREFIX: &str = "BACKUP_SERVER_";
const LISTS_ALL: &str = "`backup-server config show` lists all settings";

/// Something that is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingProblemItem {
    /// Its name; none where it is the file as a whole, or a variable of no setting.
    pub(crate) name: Option<String>,
    /// Whether the server starts all the same.
    pub(crate) is_warning: bool,
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    #[serde(flatten)]
    pub(crate) origin: Origin,
    /// In the file that it is from.
    pub(crate) line: Option<usize>,
}

impl SettingProblemItem {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = if self.is_warning { "warning: " } else { "error: " }.to_owned();
        match (&self.origin, self.line) {
            (origin @ Origin::File { .. }, Some(line)) => text.push_str(&format!("{origin}, line {line}: ")),
            (origin @ (Origin::File { .. } | Origin::Variable { .. }), _) => text.push_str(&format!("{origin}: ")),
            (Origin::Flag | Origin::Default, _) => {}
        }
        let name = self.name.iter().map(|name| format!("{name}: "));
        text.extend(name);
        text.push_str(&self.text);
        let hint = self.hint.iter().map(|hint| format!("\nhint: {hint}"));
        text.extend(hint);
        text
    }
}

/// How many problems there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsCheckedItem {
    /// The file that was read, if there is one.
    pub(crate) file: Option<PathBuf>,
    pub(crate) errors: u64,
    pub(crate) warnings: u64,
}

impl SettingsCheckedItem {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let file = match &self.file {
            Some(file) => format!("flags, environment and {}", file.display()),
            None => "flags and environment, and no file".to_owned(),
        };
        format!("looked at {file}: {} errors, {} warnings", self.errors, self.warnings)
    }
}

/// Checks the settings that `serve` would have, and tells each problem; `matches` are those of the command line that `said`
/// comes from.
///
/// # Errors
/// [`Failure`] when `serve` would not take them.
pub(crate) fn run(said: &Serve, matches: &ArgMatches, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
    let file = FileOptions::path(&said.options, said.config.as_deref());
    let Lenient { options, lines, wrong } = match &file {
        Some(path) => read_leniently(path),
        None => Lenient::default(),
    };
    let file = FileOptions { options, path: file };
    let mut findings = Findings { origins: Origins::new(&said.options, matches, &file), lines, problems: Vec::new() };
    if let Some(path) = &file.path {
        findings.problems.extend(wrong.into_iter().map(|wrong| wrong.item(path)));
    }
    look(said.options.clone().or(file.options), &mut findings);
    for (name, _) in std::env::vars_os() {
        findings.problems.extend(name.to_str().and_then(unknown_variable));
    }
    let warnings = findings.problems.iter().filter(|problem| problem.is_warning).count();
    let errors = findings.problems.len() - warnings;
    findings.problems.into_iter().for_each(|problem| emit(Item::SettingProblem(Box::new(problem))));
    let (path, warnings) = (file.path, warnings as u64);
    emit(Item::SettingsChecked(SettingsCheckedItem { file: path, errors: errors as u64, warnings }));
    match errors {
        0 => Ok(()),
        _ => Err(Failure::usage(format!("`serve` would not start with these settings: {errors} errors"))),
    }
}

/// What was found wrong, and where it was said.
struct Findings<'a> {
    origins: Origins<'a>,
    /// Of the settings in the file.
    lines: BTreeMap<String, usize>,
    problems: Vec<SettingProblemItem>,
}

impl Findings<'_> {
    fn add(&mut self, name: &str, is_warning: bool, text: String, hint: Option<String>) {
        let origin = self.origins.of(name);
        let line = matches!(origin, Origin::File { .. }).then(|| self.lines.get(name).copied()).flatten();
        self.problems.push(SettingProblemItem { name: Some(name.to_owned()), is_warning, text, hint, origin, line });
    }

    /// Notes a failure of what a setting names.
    fn note(&mut self, name: &str, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome {
            self.add(name, false, failure.in_one_line(), failure.ways_out());
        }
    }
}

/// Looks at values, and at what they name.
fn look(mut options: Options, findings: &mut Findings<'_>) {
    if let Err(failure) = Settings::unchecked(options.clone()) {
        findings.note("data-dir", Err(failure));
        // The other settings are looked at all the same.
        options.data_dir = Some(PathBuf::new());
    }
    let Ok(settings) = Settings::unchecked(options) else { return };
    for (name, bound) in settings.out_of_bounds() {
        let hint = format!("{bound} is allowed");
        findings.add(name, false, "the value is out of bounds".to_owned(), Some(hint));
    }
    findings.note("plain-http", settings.check_plain(settings.listen));
    look_at_port(&settings, findings);
    if let Some(file) = &settings.port_file {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            let hint = Some("make it, or name a file elsewhere".to_owned());
            findings.add("port-file", false, format!("there is no directory {}", folder.display()), hint);
        }
    }
    if let Some(second) = &settings.catalog_backup_copy {
        findings.note("catalog-backup-copy", private_files::check_dir(second));
    }
    if settings.data_dir.as_os_str().is_empty() {
        return;
    }
    findings.note("data-dir", private_files::check_dir(&settings.data_dir));
    for mirror in &settings.mirrors {
        findings.note("mirrors", mirror::check_target(&settings.data_dir, mirror.target()));
    }
    look_at_certificate(&keys_dir(&settings), findings);
}

/// Whether the port is free. A server that runs with these settings has it, so this is no error.
fn look_at_port(settings: &Settings, findings: &mut Findings<'_>) {
    let Err(error) = TcpListener::bind(settings.listen) else { return };
    let hint = match error.kind() {
        ErrorKind::AddrInUse => "unless it is this server that listens there, take another port",
        ErrorKind::PermissionDenied => "ports below 1024 are for the administrator; take another",
        _ => "`ip address` lists the addresses of this machine; 0.0.0.0 stands for all of them",
    };
    findings.add("listen", true, format!("cannot listen on {}: {error}", settings.listen), Some(hint.to_owned()));
}

fn look_at_certificate(keys: &Path, findings: &mut Findings<'_>) {
    if !keys.join("tls.crt").exists() {
        return;
    }
    if let Err((path, failure)) = Identity::check(keys) {
        let text = format!("{}: {}", path.display(), failure.in_one_line());
        findings.add("data-dir", false, text, failure.ways_out());
        return;
    }
    let check = doctor::certificate(keys, clock::wall());
    if check.state != CheckState::Good {
        findings.add("data-dir", true, format!("the certificate in {}: {}", keys.display(), check.text), check.hint);
    }
}

/// What can be taken of a file.
#[derive(Default)]
struct Lenient {
    options: Options,
    /// On which line each setting is said.
    lines: BTreeMap<String, usize>,
    wrong: Vec<Wrong>,
}

/// What cannot.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    name: Option<String>,
    line: Option<usize>,
    text: String,
    hint: Option<String>,
}

impl Wrong {
    fn item(self, file: &Path) -> SettingProblemItem {
        let Self { name, line, text, hint } = self;
        SettingProblemItem { name, is_warning: false, text, hint, origin: Origin::File { file: file.to_owned() }, line }
    }
}

fn read_leniently(path: &Path) -> Lenient {
    let whole =
        |text, line| Lenient { wrong: vec![Wrong { name: None, line, text, hint: None }], ..Lenient::default() };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return whole(format!("it cannot be read: {error}"), None),
    };
    parse_leniently(&text).unwrap_or_else(|error| {
        let line = error.span().map(|span| line_of(&text, span.start));
        whole(format!("it is not TOML: {}", error.message()), line)
    })
}

/// Takes each setting by itself, so that one that is wrong does not hide the others.
fn parse_leniently(text: &str) -> Result<Lenient, toml::de::Error> {
    let places = DeTable::parse(text)?;
    let table: toml::Table = toml::from_str(text)?;
    let mut read = Lenient::default();
    let lines = places.get_ref().keys().map(|key| (key.get_ref().to_string(), line_of(text, key.span().start)));
    read.lines = lines.collect();
    let known = named(&Options::default());
    for (name, value) in table {
        let line = read.lines.get(&name).copied();
        if !known.contains_key(&name) {
            let text = "there is no such setting".to_owned();
            read.wrong.push(Wrong { name: Some(name), line, text, hint: Some(LISTS_ALL.to_owned()) });
            continue;
        }
        match Value::Table([(name.clone(), value)].into_iter().collect()).try_into::<Options>() {
            Ok(options) => read.options = read.options.or(options),
            Err(error) => {
                let text = error.message().to_owned();
                read.wrong.push(Wrong { name: Some(name), line, text, hint: None });
            }
        }
    }
    Ok(read)
}

/// Counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// A variable that looks like one of this program, and is none.
fn unknown_variable(name: &str) -> Option<SettingProblemItem> {
    if !name.starts_with(VARIABLE_PREFIX) || variables().contains(name) {
        return None;
    }
    Some(SettingProblemItem {
        name: None,
        is_warning: true,
        text: "no setting has this variable".to_owned(),
        hint: Some("`backup-server serve --help` names the variable of each setting".to_owned()),
        origin: Origin::Variable { variable: name.to_owned() },
        line: None,
    })
}

/// The variables of all commands.
fn variables() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![Arguments::command()];
    while let Some(command) = left.pop() {
        let own = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned));
        found.extend(own);
        left.extend(command.get_subcommands().cloned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_a_file_does_not_hide_the_rest() {
        let text = "gc-waste = \"much\"\n\nseal = \"1s\"\npack-size = \"2MiB\"\nbase-path = \"/api\"\n";
        let read = parse_leniently(text).unwrap();
        let wrong: Vec<(Option<&str>, Option<usize>)> =
            read.wrong.iter().map(|wrong| (wrong.name.as_deref(), wrong.line)).collect();
        assert_eq!(wrong.len(), 3, "{:?}", read.wrong);
        for found in [(Some("gc-waste"), Some(1)), (Some("seal"), Some(3)), (Some("base-path"), Some(5))] {
            assert!(wrong.contains(&found), "{found:?}: {:?}", read.wrong);
        }
        assert_eq!(read.options.pack_size.map(|size| size.0), Some(2 << 20));
        assert!(parse_leniently("gc-waste = \n").is_err());
    }

    #[test]
    fn variables_that_are_misspelt_are_told() {
        assert_eq!(unknown_variable("BACKUP_SERVER_LISTEN"), None);
        assert_eq!(unknown_variable("BACKUP_SERVER_JSON"), None);
        assert_eq!(unknown_variable("PATH"), None);
        assert!(unknown_variable("BACKUP_SERVER_LISTENS").is_some_and(|problem| problem.is_warning));
    }

    #[test]
    fn problems_say_where_they_are_from() {
        let file = Origin::File { file: PathBuf::from("/srv/server.toml") };
        let problem = |origin, line| SettingProblemItem {
            name: Some("gc-waste".to_owned()),
            is_warning: false,
            text: "wrong".to_owned(),
            hint: Some("mend it".to_owned()),
            origin,
            line,
        };
        let said = problem(file, Some(3)).text();
        assert_eq!(said, "error: /srv/server.toml, line 3: gc-waste: wrong\nhint: mend it");
        assert_eq!(problem(Origin::Flag, None).text(), "error: gc-waste: wrong\nhint: mend it");
    }
}
