//! `[algorithm.<name>]`: the reinforcement-learning objective, exactly one.
//!
//! A method is a file here (its table, the published defaults, and [`Recipe`] made of them) and a line in the list
//! below (`examples/new-objective` adds one). Nothing else knows methods by name.

mod coupled_grpo;
mod d1;
mod espo;
mod gdpo;
mod spg;
mod stable_drl;
mod unigrpo;
mod wd1;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::Recipe;

/// The methods: a name in the file, which is that of the module, a variant, a table.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($table:ident),)+) => {
        $(pub use $name::$table;)+

        /// `[algorithm.<name>]`: exactly one algorithm.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(try_from = "Written", rename_all = "snake_case")]
        pub enum AlgorithmTable {
            $($(#[$doc])* $variant($table),)+
        }

        impl AlgorithmTable {
            /// The names of all methods.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            /// The name in a file.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($name),)+
                }
            }

            /// What the method does.
            pub fn recipe(&self) -> Recipe {
                match self {
                    $(Self::$variant(table) => table.recipe(),)+
                }
            }
        }

        /// `[algorithm]` as a user may write it.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            $($name: Option<$table>,)+
        }

        impl TryFrom<Written> for AlgorithmTable {
            type Error = String;

            fn try_from(written: Written) -> Result<Self, String> {
                let mut found: Vec<Self> = Vec::new();
                $(found.extend(written.$name.map(Self::$variant));)+
                match (found.pop(), found.pop()) {
                    (Some(one), None) => Ok(one),
                    (Some(second), Some(first)) => Err(format!(
                        "two algorithms, [algorithm.{}] and [algorithm.{}]: keep one",
                        first.name(),
                        second.name()
                    )),
                    (None, _) => Err(format!("no algorithm: add one of {}", Self::NAMES.join(", "))),
                }
            }
        }
    };
}

methods! {
    /// Sandwiched Policy Gradient.
    spg: Spg(SpgTable),
    /// diffu-GRPO.
    d1: D1(D1Table),
    /// Weighted policy optimisation.
    wd1: Wd1(Wd1Table),
    /// MMaDA's UniGRPO.
    unigrpo: Unigrpo(UnigrpoTable),
    /// DiffuCoder's coupled GRPO.
    coupled_grpo: CoupledGrpo(CoupledGrpoTable),
    /// ELBO-based sequence-level policy optimisation.
    espo: Espo(EspoTable),
    /// SPG's bounds with weights that hold back what moved.
    stable_drl: StableDrl(StableDrlTable),
    /// Group diffusion policy optimisation.
    gdpo: Gdpo(GdpoTable),
}

#[cfg(test)]
pub(crate) mod guide;
