//! Every method through a model: its figures, and what they must not depend on.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::config::{ActivationCheckpointing, AlgorithmTable, Trainable, guide};
use crate::model::Weights;
use crate::rng::{Key, Purpose};
use crate::task::Reward;

/// A model that has moved away from its reference, and that one.
fn model(trained: Trainable) -> (Decoder, Decoder) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
    let load = |weights| Decoder::load(&dir, DType::F32, &Device::Cpu, weights).expect("fixture");
    match trained {
        Trainable::Adapters => {
            let mut model = load(Weights::Frozen);
            model.load_adapter(&dir).expect("fixture");
            model.set_dropout(0.2);
            (model.clone(), model)
        }
        Trainable::All => {
            let model = load(Weights::Trainable);
            let reference = model.frozen_copy().expect("a copy");
            move_by(0.02, &model);
            (model, reference)
        }
    }
}

fn move_by(step: f64, model: &Decoder) {
    for var in model.trainable().values() {
        let moved = (var.as_tensor() * (1.0 + step)).expect("maths");
        var.set(&moved).expect("the same shape");
    }
}

/// Two groups of three: canvases of 16 tokens, of which some end early.
fn completions(advantages: [f64; 6]) -> Vec<Completion> {
    let mut rng = Key::new(11, Purpose::Record).rng();
    let mut ids = |n: usize| -> Vec<u32> { (0..n).map(|_| 3 + rng.below(90) as u32).collect() };
    (0..6)
        .map(|c| Completion {
            prompt: ids(4 + c / 3).into(),
            canvas: ids(16),
            len: [16, 9, 5, 12, 16, 1][c],
            reward: Reward::default(),
            advantage: advantages[c],
        })
        .collect()
}

fn mixed() -> Vec<Completion> {
    completions([0.7, -0.5, -0.2, 0.0, 0.4, -0.4])
}

fn recipes() -> impl Iterator<Item = (&'static str, Recipe)> {
    let shipped = AlgorithmTable::NAMES.iter().map(|name| {
        let table: AlgorithmTable = toml::from_str(&format!("[{name}]")).expect("defaults");
        (*name, table.recipe())
    });
    let three = NonZeroUsize::new(3).expect("3");
    shipped
        .chain([("rloo", guide::recipe())])
        .map(move |(name, recipe)| (name, Recipe { num_generations: three, num_iterations: three, ..recipe }))
}

/// A phase whose policy has moved since its completions were sampled.
struct Moved {
    model: Decoder,
    update: PolicyUpdate,
    completions: Vec<Completion>,
    anchors: Anchors,
}

impl Moved {
    /// The policy, adapters on a model, moves by `step`.
    fn by(step: f64, recipe: &Recipe, completions: Vec<Completion>, micro_batch: usize) -> Self {
        Self::of(Trainable::Adapters, step, recipe, completions, micro_batch)
    }

    fn of(trained: Trainable, step: f64, recipe: &Recipe, completions: Vec<Completion>, micro_batch: usize) -> Self {
        let (model, reference) = model(trained);
        let number = |n| NonZeroUsize::new(n).expect("above 0");
        let passes = MicroBatches { size: number(micro_batch), checkpointing: ActivationCheckpointing::Off };
        let update = PolicyUpdate::new(recipe, number(8), passes, 7);
        let anchors = update.anchors(&model, &reference, &completions, 5, &Stop::default()).expect("anchors");
        move_by(step, &model);
        Self { model, update, completions, anchors }
    }

    fn gradients(&self, inner: usize) -> (Gradients, Tally) {
        let Self { model, update, completions, anchors } = self;
        update.gradients(model, completions, anchors, inner, &Stop::default()).expect("gradients")
    }

    fn loss(&self, inner: usize) -> f64 {
        figures(&self.gradients(inner).1)("loss").expect("a loss")
    }

    fn parts(&self, inner: usize) -> GradientParts {
        let Self { model, update, completions, anchors } = self;
        update.gradient_parts(model, completions, anchors, inner, &Stop::default()).expect("gradients")
    }
}

const BOTH: [Trainable; 2] = [Trainable::Adapters, Trainable::All];

/// The third update of a phase, after the policy moved by `step`.
fn third_update(recipe: &Recipe, completions: &[Completion], micro_batch: usize, step: f64) -> (Tally, Gradients) {
    let (gradients, tally) = Moved::by(step, recipe, completions.to_vec(), micro_batch).gradients(2);
    (tally, gradients)
}

fn figures(tally: &Tally) -> impl Fn(&str) -> Option<f64> + use<> {
    let mut row = Row::new(1);
    tally.report(&mut row);
    move |name| row.number(name)
}

fn length(t: &Tensor) -> f64 {
    f64::from(t.sqr().and_then(|t| t.sum_all()).and_then(|t| t.to_scalar::<f32>()).expect("f32")).sqrt()
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    length(&(a - b).expect("one shape")) / length(b).max(1e-12)
}

#[test]
fn no_split_into_micro_batches_changes_any_method() {
    for (trained, (name, recipe)) in BOTH.into_iter().flat_map(|trained| recipes().map(move |r| (trained, r))) {
        let third = |micro_batch| Moved::of(trained, 0.05, &recipe, mixed(), micro_batch).gradients(2);
        let ((expected, whole), (gradients, tally)) = (third(6), third(1));
        let (whole, tally) = (figures(&whole), figures(&tally));
        for figure in ["loss", "kl", "bound/positive", "bound/negative", "entropy"] {
            let (a, b) = (tally(figure), whole(figure));
            assert_eq!(a.is_some(), b.is_some(), "{name}, {figure}");
            let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
            assert!((a - b).abs() < 1e-5 * b.abs().max(0.1), "{name}, {figure}: {a} {b}");
        }
        assert!(!expected.is_empty(), "{name} has gradients");
        assert_eq!(gradients.by_name().len(), expected.by_name().len(), "{name}");
        for (key, gradient) in gradients.by_name() {
            let error = distance(gradient, &expected.by_name()[key]);
            assert!(error < 1e-4, "{name}, {key}: {error}");
        }
    }
}

#[test]
fn groups_that_agree_have_no_gradient_under_any_method() {
    for (name, recipe) in recipes() {
        let (tally, gradients) = third_update(&recipe, &completions([0.0; 6]), 4, 0.05);
        assert!(gradients.is_empty(), "{name}");
        assert_eq!(figures(&tally)("loss"), Some(0.0), "{name}");
    }
}

#[test]
fn a_policy_that_did_not_move_has_ratio_one_whatever_its_dropout() {
    for (name, recipe) in recipes().filter(|(_, recipe)| recipe.link.ratio.is_some()) {
        let still = figures(&third_update(&recipe, &mixed(), 4, 0.0).0);
        assert_eq!(still("clip_ratio/region_mean"), Some(0.0), "{name}");
        assert!(still("kl").is_some_and(|kl| kl > 0.0), "{name}: the adapter is away from the reference");
        // all ratios 1: the loss is the penalty and advantages, whose mean no likelihood changes
        let nearly = figures(&third_update(&recipe, &mixed(), 4, 1e-6).0);
        let (a, b) = (still("loss").unwrap_or(f64::NAN), nearly("loss").unwrap_or(f64::NAN));
        assert!((a - b).abs() < 1e-3, "{name}: {a} {b}");
    }
}

/// All weights that move take what they were with them, unless there is a copy.
#[test]
fn a_copy_of_the_base_model_says_what_the_policy_without_adapters_says() {
    for (name, recipe) in recipes().filter(|(_, recipe)| recipe.link.kl.is_some()) {
        let kl = |model: &Decoder, reference: &Decoder| {
            let mut moved = Moved::by(0.0, &recipe, mixed(), 4);
            let anchors = moved.update.anchors(model, reference, &moved.completions, 5, &Stop::default());
            (moved.model, moved.anchors) = (model.clone(), anchors.expect("anchors"));
            figures(&moved.gradients(0).1)("kl").expect("a figure")
        };
        let (adapted, _) = model(Trainable::Adapters);
        let copy = adapted.frozen_copy().expect("a copy");
        assert!(copy.trainable().is_empty() && copy.adapters().is_empty());
        let (off, kept) = (kl(&adapted, &adapted), kl(&adapted, &copy));
        assert!(off > 0.0 && off == kept, "{name}: {off} {kept}");

        let (moved, reference) = model(Trainable::All);
        assert!(kl(&moved, &reference) > 0.0, "{name}");
        assert_eq!(kl(&moved, &moved.frozen_copy().expect("a copy")), 0.0, "{name}");
    }
}

#[test]
fn a_policy_that_moved_far_is_clipped() {
    for (name, recipe) in recipes().filter(|(_, recipe)| recipe.link.ratio.is_some()) {
        let far = figures(&third_update(&recipe, &mixed(), 4, 2.0).0);
        assert!(far("clip_ratio/region_mean").is_some_and(|part| part > 0.0), "{name}");
    }
}

/// Without anybody's numbers: the loss, moved along the gradient of each tensor that is trained (of an adapter, or of
/// embedding, norms, linear layers and head), changes as the gradient says. Of
/// weights without gradient (StableDRL) the loss knows nothing, so that it is looked at where they are 1.
#[test]
fn gradients_of_every_method_through_the_model_are_finite_differences() {
    for (trained, (name, recipe)) in BOTH.into_iter().flat_map(|trained| recipes().map(move |r| (trained, r))) {
        let moved = Moved::of(trained, 0.05, &recipe, mixed(), 6);
        let inner = if name == "stable_drl" { 0 } else { 2 };
        let gradients = moved.gradients(inner).0;
        assert_eq!(gradients.by_name().len(), moved.model.trainable().len(), "{name}");
        for (key, var) in moved.model.trainable() {
            let gradient = &gradients.by_name()[&key];
            let norm = length(gradient);
            assert!(norm > 0.0, "{name}, {key} has a gradient");
            let at = var.as_tensor().copy().expect("a copy");
            let loss_at = |step: f64| {
                let there = (&at + (gradient * (step / norm)).expect("maths")).expect("maths");
                var.set(&there).expect("the same shape");
                moved.loss(inner)
            };
            let h = 2e-3;
            let slope = (loss_at(h) - loss_at(-h)) / (2.0 * h);
            var.set(&at).expect("the same shape");
            assert!((slope - norm).abs() < 1e-2 * norm + 1e-3, "{name}, {key}: {norm} is not {slope}");
        }
    }
}

#[test]
fn the_parts_of_a_gradient_make_up_the_whole() {
    // nobody is as good as the mean: what is neither raised nor lowered is in no part
    let unequal = completions([0.7, -0.5, -0.2, 0.1, 0.4, -0.5]);
    for (trained, (name, recipe)) in BOTH.into_iter().flat_map(|trained| recipes().map(move |r| (trained, r))) {
        let moved = Moved::of(trained, 0.05, &recipe, unequal.clone(), 4);
        let GradientParts { positive, negative, cosine } = moved.parts(2);
        let whole = moved.gradients(2).0.by_name().values().map(|g| length(g).powi(2)).sum::<f64>();
        let sum = positive.powi(2) + negative.powi(2) + 2.0 * positive * negative * cosine;
        assert!(positive > 0.0 && negative > 0.0, "{name}: {positive} {negative}");
        assert!((sum - whole).abs() < 1e-4 * whole, "{name}: {sum} is not {whole}");
    }
}

#[test]
fn what_is_as_good_as_its_group_is_neither_raised_nor_lowered() {
    for (name, recipe) in recipes().filter(|(_, recipe)| recipe.link.kl.is_some()) {
        // the fourth pays the penalty alone
        let count = |advantages| figures(&third_update(&recipe, &completions(advantages), 6, 0.05).0)("bound/negative");
        let (without, with) = (count([0.7, -0.5, -0.2, 0.0, 0.0, 0.0]), count([0.7, -0.5, -0.2, 0.0, 0.4, 0.0]));
        let (without, with) = (without.expect("a figure"), with.expect("a figure"));
        assert!((without - with).abs() < 1e-9, "{name}: {without} {with}");
    }
}
