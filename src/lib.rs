//! Reinforcement learning for masked diffusion language models with Sandwiched Policy Gradient (arXiv 2510.09541).
//!
//! # The pipeline
//! Data moves one way; a module uses only modules to its left (and those that are shared by all):
//!
//! ```text
//! config -> task -> text -> model -> rollout -> objective -> optim -> report -> session -> data -> eval, generate -> grade -> train, verify -> bench, merge, sweep
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | the TOML file as written, and the checked run that is built from it |
//! | [`task`] | records, prompts, training rewards, graders |
//! | [`text`] | tokenizer and chat template |
//! | [`model`] | a decoder described by data, built from a family's `config.json`: forward, explicit backward, LoRA, weights |
//! | [`rollout`] | block-wise masked decoding |
//! | [`objective`] | advantages, masks, likelihoods, losses and their gradients: SPG and what it is compared with |
//! | [`optim`] | AdamW, clipping, learning-rate schedules |
//! | [`report`] | metrics, progress, logs; the pages of reports |
//! | [`session`] | model, tokenizer and task of a command |
//! | [`data`] | records shown as prompts, and data sets made from a seed |
//! | [`eval`], [`train`], [`verify`] | the loops that know everybody |
//! | [`generate`] | completions of anybody's prompts |
//! | [`grade`] | completions from files, by the tasks' graders |
//! | [`bench`] | rollouts and updates of any model, timed by part |
//! | [`merge`] | adapters put into their base model: a plain folder |
//! | [`sweep`] | the runs of a grid as child processes, and their comparison |
//! | [`hub`] | files of models and datasets on the Hugging Face hub, shared by all |
//! | [`files`], [`foreign`] | files written whole, the border to parsers of other people, shared by all |
//! | [`jinja`], [`terminal`] | templates as Python's, text for terminals, shared by all |
//! | [`profile`] | the stopwatches of [`bench`], in the passes of all |
//! | [`error`], [`signal`], [`runtime`] | exit codes and messages, requests to stop, the process and its memory, shared by all |
//! | [`rng`] | keyed random numbers, shared by all |
//! | [`world`] | the processes that share the work of a command, shared by all |
//! | [`meter`] | how far long work is, told from wherever it is done, shared by all |
//!
//! # The shape alphabet
//! | letter | meaning |
//! |---|---|
//! | `B` | rows of a batch (completions, or completions times samples) |
//! | `M` | Monte-Carlo masks per completion |
//! | `P`, `L`, `T` | prompt length, completion canvas length, `T = P + L` |
//! | `W` | length of the window of positions a layer computes queries for |
//! | `D`, `F`, `V` | model width, MLP width, vocabulary |
//! | `H`, `K`, `E`, `E'` | query heads, key/value heads, head width, numbers of a head that are rotated |
//! | `N` | rows after flattening, usually `B * T` |
//! | `R` | LoRA rank |
//! | `M`, `k`, `P` | in a mixture of experts alone: experts, experts of a token, pairs of token and expert |

pub mod bench;
pub mod config;
pub mod data;
pub mod error;
pub mod eval;
pub mod files;
pub mod foreign;
pub mod generate;
pub mod grade;
pub mod hub;
pub mod jinja;
pub mod merge;
pub mod meter;
pub mod model;
pub mod objective;
pub mod optim;
pub mod profile;
pub mod report;
pub mod rng;
pub mod rollout;
pub mod runtime;
pub mod session;
pub mod signal;
pub mod sweep;
pub mod task;
pub mod terminal;
pub mod text;
pub mod train;
pub mod verify;
pub mod world;

#[cfg(test)]
mod layers;
