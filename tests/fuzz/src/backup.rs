//! Images and backups: what a restore reads, what a peer sends, what stands in a directory of backups.

use std::sync::Arc;

use bytes::Bytes;
use store::engine::{Engine, memory::MemoryEngine};
use store::machine::Machine;

use crate::machine;

/// An image as a restore reads it.
pub fn image(bytes: &[u8]) {
    store::fuzzing::image(bytes);
}

/// The image of a state that somebody meant.
pub fn image_seeds() -> Vec<Vec<u8>> {
    store::fuzzing::image_seeds(&state())
}

/// A manifest of a backup.
pub fn manifest(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    store::fuzzing::manifest(bytes, directory.path());
}

/// Manifests of few files, and of files elsewhere.
pub fn manifest_seeds() -> Vec<Vec<u8>> {
    store::fuzzing::manifest_seeds()
}

/// The files of an image that a peer has sent, taken in by the engine and opened as the state: it may refuse, and must say so.
pub fn engine_image(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let image = directory.path().join("image");
    std::fs::create_dir(&image).expect("the place is empty");
    std::fs::write(image.join("content"), bytes).expect("there is space");
    let engine = MemoryEngine::new();
    if engine.restore(&image).is_err() {
        return;
    }
    let again = directory.path().join("again");
    engine.checkpoint(&again, b"").expect("what was taken in can be given");
    drop(Machine::open(Arc::new(engine)));
}

/// The image of the same state, as the engine writes it.
pub fn engine_image_seeds() -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let image = directory.path().join("image");
    state().checkpoint(&image, b"").expect("the place is empty");
    vec![std::fs::read(image.join("content")).expect("it was written")]
}

fn state() -> MemoryEngine {
    let engine = MemoryEngine::new();
    let machine = Machine::open(Arc::new(engine.clone())).expect("an empty engine opens");
    let commands = crate::records::commands().into_iter();
    let commands: Vec<Bytes> = commands.map(|command| command.encode().expect("seeds are small")).collect();
    machine::apply(&machine, &commands, 1).expect("memory takes every record");
    engine
}
