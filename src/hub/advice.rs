//! What to do about a failure.

use super::failure::Failure;
use super::refusal::Meaning;

/// What was asked for, and by whom.
pub(super) struct Asked<'a> {
    /// The address of the repository's page.
    pub(super) page: String,
    /// Where tokens are made.
    pub(super) settings: String,
    pub(super) id: &'a str,
    pub(super) kind: &'a str,
    pub(super) revision: &'a str,
    pub(super) has_token: bool,
}

impl Asked<'_> {
    /// The advice.
    pub(super) fn advice(&self, failure: &Failure) -> String {
        let Self { page, settings, id, kind, revision, has_token } = self;
        match failure {
            Failure::Unreachable { .. } | Failure::Silent { .. } => {
                "check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 asks the cache only".into()
            }
            Failure::Broken { .. } => "try again: what is there already is kept".into(),
            Failure::Wrong(_) => "check HF_ENDPOINT and what stands between it and this machine".into(),
            Failure::Disk { .. } => "check the cache's folder; HF_HOME names another".into(),
            Failure::Refused(refusal) => match (refusal.meaning(), has_token) {
                (Meaning::Gated, true) => {
                    format!("ask for access at {page} with the account that the token belongs to")
                }
                (Meaning::Gated, false) => format!("accept its terms at {page}, then set HF_TOKEN"),
                (Meaning::BadToken, _) => {
                    format!("HF_TOKEN or the token file holds a token that is not valid: make one at {settings}")
                }
                (Meaning::NoRepository, true) => {
                    format!("check the spelling of {id}: there is no such {kind}, or the token does not open it")
                }
                (Meaning::NoRepository, false) => {
                    format!("check the spelling of {id}: there is no such {kind}, or it is private and needs HF_TOKEN")
                }
                (Meaning::NoRevision, _) => format!("the {kind} {id} has no branch, tag or commit {revision}"),
                (Meaning::NoFile, _) => "the hub lists this file and does not have it".into(),
                (Meaning::Other, _) => "the hub is busy or in trouble: try again later".into(),
            },
        }
    }
}
