//! Runs a network: numbers in, numbers out. The only file, with `fold` and `weights`, that knows the runtime (tract).
//!
//! [`Network`] is the seam: another runtime is another implementation of one method.

use std::sync::Arc;

use thiserror::Error;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{DatumExt as _, InferenceModelExt as _, IntoRunnable as _};
use tract_onnx::prelude::{Tensor, TractResult, TypedRunnableModel, onnx, tvec};

/// The model failed while running. Never the photo's fault as such; never holds pixels or numbers of the face.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The runtime gave up.
    #[error("the face model failed to run: {0}")]
    Run(String),
    /// The photo could not be shrunk to the detector's input.
    #[error("the photo could not be shrunk for the face detector")]
    Shrink,
    /// The network answered in another shape than its self-test did.
    #[error("the face model's answer cannot be read: {0}")]
    Output(&'static str),
}

/// A network that is ready to run, from many threads at once.
pub(crate) trait Network: Send + Sync {
    /// Runs it on one input, planes of rows. Gives all outputs in the order of the graph.
    fn run(&self, input: &[f32]) -> Result<Vec<Vec<f32>>, EngineError>;
}

/// A network optimised by tract for one input size.
pub(crate) struct Tract {
    plan: Arc<TypedRunnableModel>,
    shape: [usize; 4],
}

impl Tract {
    /// Prepares a folded model for inputs of 1 x 3 x side x side. The error is tract's, with its causes.
    pub(crate) fn prepare(model: &ModelProto, side: usize) -> Result<Tract, String> {
        let shape = [1, 3, side, side];
        let plan = plan(model, shape).map_err(|error| format!("{error:#}"))?;
        Ok(Tract { plan, shape })
    }
}

fn plan(model: &ModelProto, shape: [usize; 4]) -> TractResult<Arc<TypedRunnableModel>> {
    // the shapes a file states for its outputs and in between hold for the size it was exported with
    let parsed = onnx().with_ignore_output_shapes(true).with_ignore_value_info(true).parse(model, None)?;
    parsed.model.with_input_fact(0, f32::fact(shape).into())?.into_optimized()?.into_runnable()
}

impl Network for Tract {
    fn run(&self, input: &[f32]) -> Result<Vec<Vec<f32>>, EngineError> {
        let run = || -> TractResult<Vec<Vec<f32>>> {
            let input = Tensor::from_shape(&self.shape, input)?;
            let outputs = self.plan.run(tvec![input.into()])?;
            outputs.iter().map(|output| Ok(output.to_plain_array_view::<f32>()?.iter().copied().collect())).collect()
        };
        run().map_err(|error| EngineError::Run(format!("{error:#}")))
    }
}
