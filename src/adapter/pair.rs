//! One adapted matrix.

use super::AdapterError;

/// The matrix that looks up tokens: its adapters are laid out otherwise, and not supported.
pub(super) const EMBEDDING: &str = "token_embd";

/// The update `scale * B A` of one matrix of the base model. Rows of queries and keys are in the order of the base's
/// GGUF file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoraPair {
    /// The base tensor's name without `.weight`: `blk.3.attn_q`.
    pub target: String,
    /// Rows of A and columns of B, at least 1.
    pub rank: usize,
    /// Numbers the base matrix takes: its row length.
    pub inputs: usize,
    /// Numbers the base matrix gives: its rows.
    pub outputs: usize,
    /// A, (rank, inputs), row-major.
    pub a: Vec<f32>,
    /// B, (outputs, rank), row-major.
    pub b: Vec<f32>,
}

impl LoraPair {
    /// The kind of matrix: the target without `blk.N.`, such as `attn_q`.
    pub fn kind(&self) -> &str {
        self.target.rsplit('.').next().unwrap_or_default()
    }

    /// Adds row `row` of `scale * B A` to `out`, which has `inputs` numbers. A row past the last adds nothing.
    pub fn add_row(&self, scale: f32, row: usize, out: &mut [f32]) {
        let Some(factors) = self.b.chunks_exact(self.rank.max(1)).nth(row) else { return };
        for (&factor, a) in factors.iter().zip(self.a.chunks_exact(self.inputs.max(1))) {
            let factor = scale * factor;
            for (out, a) in out.iter_mut().zip(a) {
                *out += factor * a;
            }
        }
    }

    /// The Frobenius norm of `B A`, without the scale: the square root of the trace of (Bᵀ B)(A Aᵀ).
    pub fn norm(&self) -> f64 {
        let (rank, a, b) = (self.rank, &self.a, &self.b);
        let dot =
            |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let mut gram = vec![0f64; rank * rank];
        for row in b.chunks_exact(rank.max(1)) {
            for (i, x) in row.iter().enumerate() {
                for (j, y) in row.iter().enumerate() {
                    gram[i * rank + j] += f64::from(*x) * f64::from(*y);
                }
            }
        }
        let rows: Vec<&[f32]> = a.chunks_exact(self.inputs.max(1)).collect();
        let pairs = rows
            .iter()
            .enumerate()
            .flat_map(|(i, x)| rows.iter().enumerate().map(move |(j, y)| (i, x, j, y)));
        let squared: f64 =
            pairs.map(|(i, x, j, y)| gram.get(i * rank + j).map_or(0.0, |g| g * dot(x, y))).sum();
        squared.max(0.0).sqrt()
    }

    /// Checks sizes and values.
    pub(super) fn check(&self) -> Result<(), AdapterError> {
        let fail = |problem: String| Err(AdapterError::tensor(&self.target, problem));
        if self.target.is_empty() {
            return fail("an adapted matrix has no name".into());
        }
        if self.target == EMBEDDING {
            return Err(AdapterError::unsupported("an adapter of the token embedding (token_embd)"));
        }
        if self.rank == 0 || self.inputs == 0 || self.outputs == 0 {
            return fail(format!("rank {} of {} x {} is empty", self.rank, self.outputs, self.inputs));
        }
        let of = |rows: usize, cols: usize, found: usize| rows.checked_mul(cols) == Some(found);
        if !of(self.rank, self.inputs, self.a.len()) {
            return fail(format!("lora_a has {} numbers, not {} x {}", self.a.len(), self.rank, self.inputs));
        }
        if !of(self.outputs, self.rank, self.b.len()) {
            return fail(format!(
                "lora_b has {} numbers, not {} x {}",
                self.b.len(),
                self.outputs,
                self.rank
            ));
        }
        match self.a.iter().chain(&self.b).find(|v| !v.is_finite()) {
            Some(value) => fail(format!("a number in it is {value}, which is not finite")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::pair;
    use super::*;
    use crate::bounds;

    #[test]
    fn rows_and_norm_are_those_of_the_product() {
        let pair = pair("blk.0.attn_q", 3, 5, 4, 7);
        assert_eq!(pair.kind(), "attn_q");
        let mut squared = 0f64;
        for row in 0..4 {
            let mut out = vec![1f32; 5];
            pair.add_row(0.5, row, &mut out);
            for (col, &got) in out.iter().enumerate() {
                let product: f32 = (0..3).map(|r| pair.b[row * 3 + r] * pair.a[r * 5 + col]).sum();
                assert!(
                    f64::from((got - 1.0 - 0.5 * product).abs()) < bounds::sum(8, 2.5),
                    "{got} {product}"
                );
                squared += f64::from(product).powi(2);
            }
        }
        assert!((pair.norm() / squared.sqrt() - 1.0).abs() < bounds::ROUNDED);
        let mut past = vec![1f32; 5];
        pair.add_row(0.5, 4, &mut past);
        assert_eq!(past, [1.0; 5]);
        assert_eq!(LoraPair::default().norm(), 0.0);
    }
}
