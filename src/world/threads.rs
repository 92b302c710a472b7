//! Processes as threads of one: for tests that need no launcher.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};

use super::{Collective, World};

/// Runs `f` once in each of `size` threads that are a world, and returns what they return, by rank. If one panics, the
/// others do not wait for it, and so does the caller.
pub fn in_threads<T: Send>(size: usize, f: impl Fn(World) -> T + Sync) -> Vec<T> {
    let shared = Arc::new(Shared { size, ..Shared::default() });
    std::thread::scope(|scope| {
        let run = |rank: usize| {
            let (f, shared) = (&f, shared.clone());
            scope.spawn(move || {
                let world = World::with(Box::new(Thread { rank, shared: shared.clone() }), rank, size);
                catch_unwind(AssertUnwindSafe(|| f(world))).inspect_err(|_| shared.end())
            })
        };
        let threads: Vec<_> = (0..size).map(run).collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("panics are caught")).collect();
        results.into_iter().map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[derive(Debug)]
struct Thread {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
    called: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    brought: HashMap<usize, Vec<u8>>,
    /// Of the last gathering that is complete.
    gathered: Arc<Vec<Vec<u8>>>,
    gatherings: usize,
    letters: HashMap<(usize, usize), VecDeque<Vec<f32>>>,
    is_over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>> {
        let waits = |state: &mut State| !state.is_over && condition(state);
        let state = self.changed.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner);
        ensure!(!state.is_over, "another thread panicked");
        Ok(state)
    }
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.size
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut state = self.shared.state();
        let before = state.gatherings;
        state.brought.insert(self.rank, mine.to_vec());
        if state.brought.len() == self.shared.size {
            let mut brought: Vec<(usize, Vec<u8>)> = state.brought.drain().collect();
            brought.sort_by_key(|(rank, _)| *rank);
            state.gathered = Arc::new(brought.into_iter().map(|(_, bytes)| bytes).collect());
            state.gatherings += 1;
            self.shared.changed.notify_all();
        }
        drop(state);
        let state = self.shared.wait_while(|state| state.gatherings == before)?;
        Ok(state.gathered.to_vec())
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        values.fill(0.0);
        for all in self.gather(&bytes)? {
            for (sum, value) in values.iter_mut().zip(all.chunks_exact(4)) {
                *sum += f32::from_le_bytes(value.try_into()?);
            }
        }
        Ok(())
    }

    fn broadcast(&self, values: &mut [f32]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let first = &self.gather(&bytes)?[0];
        for (value, bytes) in values.iter_mut().zip(first.chunks_exact(4)) {
            *value = f32::from_le_bytes(bytes.try_into()?);
        }
        Ok(())
    }

    fn send(&self, to: usize, values: &[f32]) -> Result<()> {
        self.shared.state().letters.entry((self.rank, to)).or_default().push_back(values.to_vec());
        self.shared.changed.notify_all();
        Ok(())
    }

    fn receive(&self, from: usize, values: &mut [f32]) -> Result<()> {
        let key = (from, self.rank);
        let mut state = self.shared.wait_while(|s| s.letters.get(&key).is_none_or(VecDeque::is_empty))?;
        let letter = state.letters.get_mut(&key).and_then(VecDeque::pop_front);
        values.copy_from_slice(&letter.expect("it was waited for"));
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        self.gather(&[]).map(drop)
    }

    fn call(&self) {
        self.shared.called.store(true, Ordering::SeqCst);
    }

    fn is_called(&self) -> bool {
        self.shared.called.load(Ordering::SeqCst)
    }

    fn abort(&self, code: i32) -> ! {
        self.shared.end();
        panic!("aborted with {code}")
    }
}
