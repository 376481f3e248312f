//! Command line of the client.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod files;

use args::{Cli, Command, Keys};
use clap::Parser;
use client::terminal::Progress;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads for the network: {error}");
            return ExitCode::FAILURE;
        }
    };
    let progress = Progress::new(cli.quiet);
    let result = runtime.block_on(async {
        match cli.command {
            #[cfg(feature = "demo")]
            Command::Demo(args) => commands::demo(args, progress).await,
            Command::Keygen(args) => commands::keygen(args, progress).await,
            Command::Encrypt(args) => commands::encrypt(&args, &progress),
            Command::Infer(args) => commands::infer(&args, progress).await,
            Command::Decrypt(args) => commands::decrypt(&args),
            Command::Models(args) => commands::models(&args).await,
            Command::Keys(Keys::Upload(args)) => commands::keys_upload(&args, progress).await,
            Command::Keys(Keys::Status(args)) => commands::keys_status(&args).await,
            Command::Keys(Keys::Rm(args)) => commands::keys_rm(&args, &progress).await,
            Command::Inspect(args) => commands::inspect(&args),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `client ... | head` is no failure.
        Err(client::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
