//! A mixture of experts in the place of an MLP: every token goes through a few of many small MLPs, and through a shared one
//! in some families.
//!
//! ```text
//! y = start + sum over a token's experts of w_m mlp_m(h) + shared(h)
//! ```
//! Tokens are sorted by expert, so that an expert is one product for all of its tokens. Outputs are added up in the order of
//! the experts: a token's numbers do not depend on the others.

use candle_core::{DType, Result, Tensor};

use super::gated::{Gated, GatedSaved};
use crate::model::batch::Span;
use crate::model::linear::Linear;
use crate::model::ops::{cpu, gpu, rows};
use crate::model::param::{Gradients, Param};
use crate::model::routing::{Routes, Routing};

/// Weights of a mixture.
#[derive(Clone, Debug)]
pub struct Experts {
    /// How tokens are sent to experts.
    pub routing: Routing,
    /// Makes a logit for every expert, in f32: `[M, D]`.
    pub router: Linear,
    /// What is added to the scores before experts are chosen, f32 `[M]`, never trained.
    pub bias: Option<Param>,
    /// The experts, `M` of them; they have no adapters.
    pub each: Vec<Gated>,
    /// The expert of all tokens.
    pub shared: Option<Gated>,
}

/// What a mixture keeps for its backward.
#[derive(Debug)]
pub struct ExpertsSaved {
    routes: Routes,
    /// Of the experts that have tokens.
    each: Vec<Option<GatedSaved>>,
    shared: Option<GatedSaved>,
}

#[cfg(test)]
impl ExpertsSaved {
    /// What is held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.routes.bytes() + self.each.iter().chain([&self.shared]).flatten().map(GatedSaved::bytes).sum::<usize>()
    }
}

/// The tokens and weights of all pairs, where the activations are.
struct Placed {
    tokens: Tensor,  // u32 [P]
    weights: Tensor, // f32 [P, 1]
}

impl Placed {
    fn of(routes: &Routes, h: &Tensor) -> Result<Self> {
        let n = routes.tokens.len();
        let tokens = gpu::upload(&routes.tokens, n, h.device())?;
        Ok(Self { tokens, weights: gpu::upload(&routes.weights, (n, 1), h.device())? })
    }
}

impl Experts {
    /// `start + y`, and what [`Experts::backward`] needs when `keep`.
    ///
    /// # Shapes
    /// `start`, `h` `[N, D]`; returns `[N, D]`.
    pub fn forward(
        &self,
        start: &Tensor,
        h: &Tensor,
        span: &Span<'_>,
        keep: bool,
    ) -> Result<(Tensor, Option<ExpertsSaved>)> {
        let routes = self.routes(h, span)?;
        let placed = Placed::of(&routes, h)?;
        let mut saved = ExpertsSaved { each: Vec::with_capacity(self.each.len()), shared: None, routes };
        let mut y = start.copy()?;
        for (expert, mlp) in self.each.iter().enumerate() {
            let pairs = saved.routes.of(expert);
            if pairs.is_empty() {
                saved.each.push(None);
                continue;
            }
            let tokens = placed.tokens.narrow(0, pairs.start, pairs.len())?;
            let weights = placed.weights.narrow(0, pairs.start, pairs.len())?;
            let (out, kept) = mlp.forward(None, h.index_select(&tokens, 0)?, Some(&weights), span, keep)?;
            y = rows::added(y, &out, &saved.routes.tokens[pairs], &tokens)?;
            saved.each.push(kept);
        }
        if let Some(shared) = &self.shared {
            (y, saved.shared) = shared.forward(Some(&y), h.clone(), None, span, keep)?;
        }
        Ok((y, keep.then_some(saved)))
    }

    /// What [`Experts::backward`] needs, without the output.
    ///
    /// # Shapes
    /// `h` `[N, D]`.
    pub fn save(&self, h: &Tensor, span: &Span<'_>) -> Result<ExpertsSaved> {
        let routes = self.routes(h, span)?;
        let placed = Placed::of(&routes, h)?;
        let save = |(expert, mlp): (usize, &Gated)| {
            let pairs = routes.of(expert);
            if pairs.is_empty() {
                return Ok(None);
            }
            let tokens = placed.tokens.narrow(0, pairs.start, pairs.len())?;
            let weights = placed.weights.narrow(0, pairs.start, pairs.len())?;
            mlp.save(&h.index_select(&tokens, 0)?, Some(&weights), span).map(Some)
        };
        let each = self.each.iter().enumerate().map(save).collect::<Result<_>>()?;
        let shared = self.shared.as_ref().map(|shared| shared.save(h, None, span)).transpose()?;
        Ok(ExpertsSaved { routes, each, shared })
    }

    /// Adds the gradients of what is trained; returns that of the input.
    ///
    /// # Shapes
    /// `h`, `dy` `[N, D]`; returns `[N, D]`.
    pub fn backward(
        &self,
        h: &Tensor,
        dy: &Tensor,
        saved: ExpertsSaved,
        span: &Span<'_>,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let ExpertsSaved { routes, each, shared } = saved;
        let placed = Placed::of(&routes, h)?;
        let mut dh = match self.shared.as_ref().zip(shared) {
            Some((mlp, saved)) => mlp.backward(|| Ok(h.clone()), None, dy, saved, span, gradients)?.0,
            None => dy.zeros_like()?,
        };
        let mut d_weights = Vec::new();
        for (expert, (mlp, saved)) in self.each.iter().zip(each).enumerate() {
            let (pairs, Some(saved)) = (routes.of(expert), saved) else {
                mlp.no_gradients(gradients)?;
                continue;
            };
            let tokens = placed.tokens.narrow(0, pairs.start, pairs.len())?;
            let weights = placed.weights.narrow(0, pairs.start, pairs.len())?;
            let (input, dy) = (|| h.index_select(&tokens, 0), dy.index_select(&tokens, 0)?);
            let (through, dw) = mlp.backward(input, Some(&weights), &dy, saved, span, gradients)?;
            dh = rows::added(dh, &through, &routes.tokens[pairs], &tokens)?;
            d_weights.extend(dw);
        }
        let d_weights = gpu::download(&Tensor::cat(&d_weights, 0)?)?;
        let d_logits = self.routing.gradient(&routes, &d_weights);
        let d_logits = gpu::upload(&d_logits, (h.dim(0)?, self.routing.experts), h.device())?;
        let wide = gpu::cast(h, DType::F32)?;
        let through = self.router.backward(Some(&wide), &None, &d_logits, span, true, gradients)?;
        cpu::sum(dh, &gpu::cast(&super::wanted(through)?, h.dtype())?)
    }

    /// Where the tokens go.
    fn routes(&self, h: &Tensor, span: &Span<'_>) -> Result<Routes> {
        let (logits, _) = self.router.forward(None, &gpu::cast(h, DType::F32)?, span)?;
        let bias = self.bias.as_ref().map(|bias| gpu::download(bias.value())).transpose()?;
        Ok(self.routing.route(&gpu::download(&logits)?, bias.as_deref()))
    }
}
