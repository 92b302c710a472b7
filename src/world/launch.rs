//! What a launcher (mpirun, srun, an MPIJob's) says to a process it starts.

use crate::error::Usage;

/// A process among those that were started with it, as the environment has it; MPI itself is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Its number among those of its machine.
    pub local_rank: usize,
    /// How many its machine has.
    pub local_size: usize,
}

/// The variables that hold rank, size, local rank and local size: Open MPI's, MPICH's and Slurm's. Slurm sets its own for
/// every command of an allocation, a single one too, and is asked last.
const VARIABLES: [[&str; 4]; 3] = [
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"],
    ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"],
    ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"],
];

impl Launch {
    /// What the environment of this process says; none if nothing started it with others.
    pub fn of_process() -> Option<Self> {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(get: impl Fn(&str) -> Option<String>) -> Option<Self> {
        VARIABLES.iter().find_map(|names| {
            // such as "4(x2)" for two machines with four each
            let number = |name: &str| -> Option<usize> {
                let text = get(name)?;
                let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
                digits.parse().ok()
            };
            let [rank, size, local_rank, local_size] = names.map(number);
            let (rank, size) = (rank?, size?);
            if rank >= size {
                return None;
            }
            Some(Self { rank, size, local_rank: local_rank.unwrap_or(0), local_size: local_size.unwrap_or(1).max(1) })
        })
    }

    /// Whether several processes were started by a build that cannot connect them: each would do all of the work, in the
    /// same folder.
    ///
    /// # Errors
    /// [`Usage`]
    pub fn refuse_without_mpi(&self) -> anyhow::Result<()> {
        if self.size == 1 {
            return Ok(());
        }
        Err(Usage(format!(
            "{} processes were started together, and this build cannot connect them: rebuild with --features mpi, or start \
             one",
            self.size
        ))
        .into())
    }
}

/// How many threads a process of several on this machine should compute with: what the launcher left it, but not more
/// than its part of the launcher's cores. None where the user has decided.
pub fn threads_of_a_process() -> Option<usize> {
    let launch = Launch::of_process().filter(|launch| launch.local_size > 1)?;
    if std::env::var_os("RAYON_NUM_THREADS").is_some() {
        return None;
    }
    let own = std::thread::available_parallelism().ok()?.get();
    let part = crate::runtime::cores_of_parent().unwrap_or(own) / launch.local_size;
    Some(own.min(part).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(variables: &[(&str, &str)]) -> Option<Launch> {
        Launch::of(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_say_who_a_process_is() {
        assert_eq!(launch(&[]), None);
        assert_eq!(launch(&[("SLURM_JOB_ID", "7"), ("SLURM_NTASKS", "4")]), None, "a script of an allocation");
        let open_mpi = [
            ("OMPI_COMM_WORLD_RANK", "5"),
            ("OMPI_COMM_WORLD_SIZE", "8"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
        ];
        let expected = Launch { rank: 5, size: 8, local_rank: 1, local_size: 4 };
        assert_eq!(launch(&open_mpi), Some(expected));
        let slurm = [
            ("SLURM_PROCID", "5"),
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_STEP_TASKS_PER_NODE", "4(x2)"),
        ];
        assert_eq!(launch(&slurm), Some(expected));
        let mpich = [("PMI_RANK", "0"), ("PMI_SIZE", "2")];
        assert_eq!(launch(&mpich), Some(Launch { rank: 0, size: 2, local_rank: 0, local_size: 1 }));
    }

    #[test]
    fn copies_that_know_nothing_of_each_other_are_refused() {
        let of = |size| Launch { rank: 0, size, local_rank: 0, local_size: size }.refuse_without_mpi();
        assert!(of(1).is_ok());
        let text = of(3).expect_err("three").to_string();
        assert!(text.starts_with("3 processes") && text.contains("--features mpi"), "{text}");
    }
}
