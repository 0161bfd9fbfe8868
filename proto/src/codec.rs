//! Messages as bytes: what [`tonic_prost`] does, in rooms of the size that is needed.
//!
//! tonic gives each call, and each stream for as long as it lasts, two rooms of 8 KiB. Most messages take a few hundred bytes, and most streams of
//! watches and keep-alives are quiet: a member with a thousand calls under way would hold 16 MB, and touch them in turn.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// The room for what is sent: for small messages it is enough, and each that is larger gets one of its own.
const SENT_BYTES: usize = 1 << 10;

/// There is none before something comes, and then as much as came, or as the message is said to take. Decompression would grow by such steps,
/// so one who accepts compressed messages needs another value.
const RECEIVED_BYTES: usize = 0;

/// When so much is encoded it is handed on, whether or not there is more; tonic's value.
const HANDED_ON_BYTES: usize = 32 << 10;

/// A codec whose rooms fit.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Fitting<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Fitting<T> {
        Fitting(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(BufferSettings::new(RECEIVED_BYTES, HANDED_ON_BYTES))
    }
}

/// Makes room for a message at once, instead of by doubling.
#[derive(Debug, Clone)]
pub struct Fitting<T>(PhantomData<T>);

impl<T: Message> Encoder for Fitting<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.reserve(message.encoded_len());
        // There is room: this cannot fail, and need not count again.
        message.encode_raw(into);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(SENT_BYTES, HANDED_ON_BYTES)
    }
}
