//! How the processes of a job part: why one leaves, and what that is for the others.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::error::PeerFailed;
use crate::signal::Interrupted;

/// Why a process leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leave {
    /// Someone asked it to stop.
    Stopped,
    /// It failed.
    Failed {
        /// What it has to say.
        text: String,
        /// Whether numbers broke, so that weights may be, too.
        numeric: bool,
    },
}

/// How a job ended: those who left by themselves, by rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parted(Vec<(usize, Leave)>);

impl Parted {
    pub(super) fn alone(leave: Leave) -> Self {
        Self(vec![(0, leave)])
    }

    /// The first process that failed, what it has to say, and whether numbers broke; none if all were only stopped.
    pub fn failure(&self) -> Option<(usize, &str, bool)> {
        self.0.iter().find_map(|(rank, leave)| match leave {
            Leave::Failed { text, numeric } => Some((*rank, text.as_str(), *numeric)),
            Leave::Stopped => None,
        })
    }

    /// Whether numbers broke anywhere.
    pub fn is_numeric(&self) -> bool {
        self.0.iter().any(|(_, leave)| matches!(leave, Leave::Failed { numeric: true, .. }))
    }

    /// Whether the failure of `rank` is the first of its text: others need not repeat it.
    pub fn speaks(&self, rank: usize) -> bool {
        let Some((_, mine @ Leave::Failed { .. })) = self.0.iter().find(|(other, _)| *other == rank) else {
            return false;
        };
        self.0.iter().all(|(other, leave)| *other >= rank || leave != mine)
    }

    /// What it is for a process that did not leave by itself.
    pub fn error(&self) -> anyhow::Error {
        match self.failure() {
            None => Interrupted.into(),
            Some((rank, ..)) => PeerFailed { rank }.into(),
        }
    }
}

/// What a process brings to a meeting: why it leaves, or what it has to tell.
pub(super) fn message(leave: Option<&Leave>, bytes: &[u8]) -> Result<Vec<u8>> {
    match leave {
        None => Ok([&[0], bytes].concat()),
        Some(leave) => {
            let leave = rmp_serde::to_vec(leave).context("cannot say why this process leaves")?;
            Ok([&[1], leave.as_slice()].concat())
        }
    }
}

/// What all brought, without the first byte; or who leaves.
pub(super) fn read(all: Vec<Vec<u8>>) -> Result<Result<Vec<Vec<u8>>, Parted>> {
    let mut left = Vec::new();
    for (rank, message) in all.iter().enumerate() {
        let (kind, rest) = message.split_first().context("a process says nothing")?;
        if *kind != 0 {
            left.push((rank, rmp_serde::from_slice(rest).context("cannot read why a process leaves")?));
        }
    }
    Ok(match left.is_empty() {
        true => Ok(all.into_iter().map(|mut message| message.split_off(1)).collect()),
        false => Err(Parted(left)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str) -> Leave {
        Leave::Failed { text: text.into(), numeric: false }
    }

    #[test]
    fn a_meeting_is_what_all_tell_or_who_leaves() {
        let told = [message(None, b"ab").expect("bytes"), message(None, b"").expect("bytes")];
        assert_eq!(read(told.to_vec()).expect("read"), Ok(vec![b"ab".to_vec(), Vec::new()]));
        let leaves = message(Some(&failed("disk full")), b"").expect("bytes");
        let parted = read(vec![told[0].clone(), leaves]).expect("read").expect_err("one leaves");
        assert_eq!(parted.failure(), Some((1, "disk full", false)));
        assert!(read(vec![Vec::new()]).is_err());
    }

    #[test]
    fn the_same_words_are_said_once_by_the_first() {
        let parted = Parted(vec![(0, Leave::Stopped), (1, failed("a")), (2, failed("b")), (3, failed("a"))]);
        assert_eq!([0, 1, 2, 3, 4].map(|rank| parted.speaks(rank)), [false, true, true, false, false]);
        assert_eq!(parted.error().to_string(), "process 1 failed");
        assert!(Parted(vec![(2, Leave::Stopped)]).error().is::<Interrupted>());
    }
}
