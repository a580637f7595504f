//! The flags of `longwave serve`, made from the table of settings: [`SettingFlags`].

use std::collections::HashMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Setting, Shape, TABLE, capitalised};

/// The words that flags gave, by the setting's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingFlags {
    pub(crate) words: HashMap<&'static str, Vec<String>>,
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        // On the command without a name the flags work too, but its help is about the commands.
        let is_root = command.get_name() == env!("CARGO_BIN_NAME");
        command.args(TABLE.iter().map(|setting| arg(setting).hide(is_root)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut words = HashMap::new();
        for setting in TABLE {
            let is_given =
                matches.value_source(setting.name) == Some(clap::parser::ValueSource::CommandLine);
            if is_given && let Some(values) = matches.get_many::<String>(setting.name) {
                words.insert(setting.name, values.cloned().collect());
            }
        }
        Ok(SettingFlags { words })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn arg(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.name).long(setting.flag()).help(help(setting));
    let section = setting.toml.and_then(|path| path.split_once('.')).map(|(section, _)| section);
    let arg = match section {
        Some(section) => arg.help_heading(capitalised(section)),
        None => arg,
    };
    match setting.shape {
        Shape::One => arg.action(ArgAction::Set).value_name(value_name(setting)),
        Shape::Many => {
            arg.action(ArgAction::Append).value_delimiter(',').value_name(value_name(setting))
        }
        // `--open` and `--open=false`, so that a flag can also take back what the file says.
        Shape::Switch => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .hide_possible_values(true)
            .value_name("BOOL"),
    }
}

fn help(setting: &Setting) -> String {
    match setting.default {
        "" => format!("{} [env: {}]", setting.help, setting.env()),
        default => format!("{} [default: {default}] [env: {}]", setting.help, setting.env()),
    }
}

fn value_name(setting: &Setting) -> String {
    let word = match setting.kind {
        "addresses" => "ADDR",
        "prefix=upstream" => "PREFIX=URL",
        "path" if setting.name == "data" => "DIR",
        "path" => "FILE",
        kind if kind.starts_with("duration") => "DURATION",
        kind if kind.starts_with("size") => "SIZE",
        "number" => "N",
        kind if kind.contains("origin") => "ORIGIN",
        kind if kind.contains("host") => "HOST",
        "text" => "FILTER",
        kind => return kind.replace(" or ", "|").to_ascii_lowercase(),
    };
    word.to_owned()
}
