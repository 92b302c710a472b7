//! `spg completions` and `spg man`: what shells and `man` read of the command line, made from its one description.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

/// Arguments of `spg completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// What the help text of `spg completions` says after the options.
pub const COMPLETIONS_HELP: &str = "\
  spg completions bash > ~/.local/share/bash-completion/completions/spg
  spg completions zsh  > DIR/_spg                               # DIR: a folder of $fpath
  spg completions fish > ~/.config/fish/completions/spg.fish";

/// Arguments of `spg man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write the pages of all commands into this folder: spg.1, spg-train.1 and so on, over those that are there
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What the help text of `spg man` says after the options.
pub const MAN_HELP: &str = "\
  spg man | man -l -
  spg man --out ~/.local/share/man/man1 && man spg-train";

impl CompletionsArgs {
    /// Prints the script.
    ///
    /// # Errors
    /// Standard output that cannot be written to.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "spg", &mut script);
        spg::report::print_result(String::from_utf8_lossy(&script).trim_end())
    }
}

impl ManArgs {
    /// Prints the page of `spg`, or writes those of all commands.
    ///
    /// # Errors
    /// Names the file or folder that cannot be written.
    pub fn run(&self) -> anyhow::Result<()> {
        let pages = pages()?;
        let Some(dir) = &self.out else {
            let page = pages.first().map(|(_, text)| text.as_str()).unwrap_or_default();
            return spg::report::print_result(page.trim_end());
        };
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for (name, text) in &pages {
            write(&dir.join(name), text)?;
        }
        tracing::info!("{} pages in {}", pages.len(), dir.display());
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    spg::files::write_whole(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// File name and text of every command's page, that of `spg` first.
fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    add(&command, "spg", &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, name: &str, pages: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text).with_context(|| format!("cannot make the page {name}"))?;
    pages.push((format!("{name}.1"), String::from_utf8_lossy(&text).into_owned()));
    // `help` repeats the others
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        add(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_of_its_name() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["spg.1", "spg-train.1", "spg-merge.1", "spg-data.1", "spg-data-sudoku.1", "spg-man.1"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        for (name, text) in &pages {
            let title = name.trim_end_matches(".1");
            assert!(text.contains(&format!(".TH {title} 1")), "{name}:\n{text}");
            assert!(text.contains(".SH SYNOPSIS"), "{name}");
        }
        let train = &pages.iter().find(|(name, _)| name == "spg-train.1").unwrap().1;
        assert!(train.contains("dry\\-run") && train.contains("resume"), "{train}");
    }
}
