//! A client against a server: makes keys, uploads them, asks, and decrypts the answer.
//!
//!     cargo run --release -p client --example ask -- http://127.0.0.1:8080 "an utterly charming film"

use client::{Answer, Api, Reply, Result, Session, download_bundle};

const MODEL: &str = "sentiment";

/// What the model says of the text.
pub async fn ask(server: &str, text: &str) -> Result<Answer> {
    let api = Api::new(server)?;
    // Parameters, keys and packing, checked here whatever the server says; then tokenizer and embeddings.
    let manifest = api.manifest(MODEL).await?;
    let (bundle, _) = download_bundle(&api, &manifest).await?;
    let session = Session::generate(manifest, bundle)?;

    let mut keys = Vec::new(); // or a file: those of deep models are gigabytes
    session.evaluation_keys(&mut keys, |_, _| {})?;
    let key_id = api.upload_keys(MODEL, keys, |_| {}).await?.key_id;

    let request = session.encrypt(text)?;
    let limit = session.reply_limit()?;
    let reply = api
        .infer(MODEL, &key_id, Reply::Logits, request.frames, limit, |_| {})
        .await?;
    let decrypted = session.decrypt(&reply)?;
    Ok(session.answer(decrypted.outputs, request.tokens - 1))
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(server), Some(text)) = (args.next(), args.next()) else {
        return Err("usage: ask http://HOST:PORT TEXT".into());
    };
    let runtime = tokio::runtime::Runtime::new()?;
    println!("{}", runtime.block_on(ask(&server, &text))?);
    Ok(())
}
