//! The face engine, asked once for each picture: the people of all tests bring the same selfies, and measuring them anew was
//! a third of all that the tests computed. Never answers for bytes that the engine itself did not see.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use safelight_faces::{Embedding, FaceEngine, ModelId};
use safelight_jobs::{services::Measure, stop::Stop};
use sha2::{Digest, Sha256};

type Said = Result<Embedding, &'static str>;

pub struct Remembering {
    pub engine: FaceEngine,
    pub seen: Mutex<HashMap<[u8; 32], Said>>,
}

impl Measure for Remembering {
    fn model(&self) -> &ModelId {
        self.engine.model()
    }

    fn measure(&self, photo: &[u8]) -> Result<Said, Stop> {
        let name = Sha256::digest(photo).into();
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen().get(&name).cloned();
        if let Some(said) = known {
            return Ok(said);
        }
        let said = Measure::measure(&self.engine, photo)?;
        seen().insert(name, said.clone());
        Ok(said)
    }
}
