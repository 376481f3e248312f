//! Transformers over HTTP, from a model folder to the decrypted answer, at secure parameters: inputs and outputs of several
//! ciphertexts, every head, texts and images, against the f64 forward of the same polynomials.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use client::{Answer, Api, Error, LocalServer, Query, Reply, Request, Session, download_bundle};
use he_ops::decision::Rule;
use models::model::Mode;
use models::model::{
    Activation, Attention, Fit, Head, Mask, Norm, NormKind, Pool, Position, TransformerConfig,
};
use models::synthetic;
use models::{Bundle, DecisionConfig, Manifest, ModelDir};
use serde_json::{Value, json};
use server::Config;

#[path = "../examples/search.rs"]
#[allow(dead_code, reason = "its main is not called here")]
mod search;

const WORDS: [&str; 6] = ["[PAD]", "[UNK]", "good", "bad", "film", "very"];
const TOKENS: usize = 4;
const DIM: usize = 24;

/// Depth is what costs: norms that fold away, a quadratic activation, few bits.
fn config(head: Head, n_layers: usize) -> TransformerConfig {
    TransformerConfig {
        model_type: "polynomial_transformer".to_owned(),
        dim: DIM,
        n_layers,
        n_heads: 3,
        hidden_dim: 16,
        seq_len: TOKENS,
        vocab_size: WORDS.len(),
        id2label: BTreeMap::new(),
        pad_token_id: 0,
        norm_position: Position::Post,
        attention: Attention {
            power: 2,
            epsilon: 5.0,
            score_scale: 0.25,
            mask: Mask::None,
            visible_mean: false,
        },
        norm: Norm {
            kind: NormKind::BatchNorm,
            epsilon: 1e-5,
        },
        activation: Activation::Quadratic,
        head,
        precision_bits: 4,
        margin: 1.3,
        fit: None,
    }
}

fn tokenizer() -> Value {
    let vocab: BTreeMap<&str, usize> = WORDS.iter().enumerate().map(|(id, word)| (*word, id)).collect();
    json!({
        "version": "1.0", "added_tokens": [], "post_processor": null, "decoder": null,
        "truncation": {"direction": "Right", "max_length": TOKENS, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": TOKENS}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocab}
    })
}

/// A safetensors file; values from -1 to 1 that repeat late. `F16` for words.
fn tensors(list: &[(&str, &[usize])]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (number, (name, shape)) in list.iter().enumerate() {
        let start = data.len();
        let half = name.contains("word");
        for i in 0..shape.iter().product::<usize>() {
            if half {
                // The bits of f16 numbers of magnitude 1 to 2, signs and fractions mixed.
                let bits = 0x3c00 | (i * 389 % 1024) as u16 | ((i * 7919 / 13 % 2) as u16) << 15;
                data.extend(bits.to_le_bytes());
            } else {
                let value = ((i * 7919 + number * 101) % 2003) as f32 / 1001.5 - 1.0;
                let value = if name.ends_with("Norm.weight") {
                    1.0
                } else {
                    0.4 * value
                };
                data.extend(value.to_le_bytes());
            }
        }
        let entry = json!({ "dtype": if half { "F16" } else { "F32" }, "shape": shape,
            "data_offsets": [start, data.len()] });
        header.insert((*name).to_owned(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.bytes());
    out.extend(data);
    out
}

const TEXTS: [&str; 7] = [
    "good film",
    "bad film",
    "very good film",
    "very very bad film",
    "good",
    "strange",
    "film very bad",
];

/// Writes the folder of a synthetic model, calibrated on the texts or images it will be asked.
fn write_model(models: &Path, id: &str, config: &TransformerConfig, images: bool, plan: Value) -> Vec<Query> {
    let (folder, dim) = (models.join(id), config.dim);
    fs::create_dir_all(&folder).unwrap();
    let norm = [
        ("embeddings.LayerNorm.weight", &[dim][..]),
        ("embeddings.LayerNorm.bias", &[dim]),
    ];
    let positions = ("embeddings.position_embeddings.weight", &[TOKENS, dim][..]);
    let source: &[(&str, &[usize])] = if images {
        &[
            ("embeddings.patch_projection.weight", &[dim, 4]),
            ("embeddings.patch_projection.bias", &[dim]),
        ]
    } else {
        &[("embeddings.word_embeddings.weight", &[WORDS.len(), dim])]
    };
    let embeddings = tensors(&[source, &[positions], &norm].concat());
    fs::write(folder.join("embeddings.safetensors"), &embeddings).unwrap();
    if !images {
        fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    }
    let weights = synthetic::model(config, 1).unwrap();
    fs::write(
        folder.join("model.safetensors"),
        weights.to_safetensors(config).unwrap(),
    )
    .unwrap();
    let write_config = |config: &TransformerConfig| {
        let mut json: Value = serde_json::from_slice(&config.to_json().unwrap()).unwrap();
        json["plan"] = plan.clone();
        if images {
            json["input"] = json!({ "kind": "patches", "rows": 4, "cols": 4, "patch": 2 });
        }
        fs::write(folder.join("config.json"), json.to_string()).unwrap();
    };
    write_config(config);
    let bundle = Bundle::open(&ModelDir::open(&folder).unwrap()).unwrap();
    let queries: Vec<Query> = if images {
        (0..5_u8)
            .map(|n| Query::Image {
                file: (0..16)
                    .map(|i| ((u32::from(n) + 1) * (i * 37 + u32::from(n)) % 256) as u8)
                    .collect(),
                index: 0,
            })
            .collect()
    } else {
        TEXTS.iter().map(|text| Query::Text((*text).to_owned())).collect()
    };
    let inputs: Vec<Vec<f64>> = queries
        .iter()
        .map(|query| match query {
            Query::Text(text) => bundle.embed(text).unwrap().x,
            Query::Image { file, .. } => bundle.embed_image(file).unwrap().x,
        })
        .collect();
    let (fit, _) = Fit::calibrate(config, &weights, &inputs).unwrap();
    write_config(&TransformerConfig {
        fit: Some(fit),
        ..config.clone()
    });
    queries
}

fn largest_error(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let errors = found.iter().zip(wanted).map(|(a, b)| (a - b).abs());
    errors.fold(0.0, |worst, next| {
        if next.is_nan() {
            f64::INFINITY
        } else {
            worst.max(next)
        }
    })
}

/// Keys, upload, a question, and the answer beside the f64 forward.
async fn ask(api: &Api, models: &Path, id: &str, queries: &[Query]) -> (Session, String, Vec<Answer>) {
    let manifest = api.manifest(id).await.unwrap();
    let (bundle, _) = download_bundle(api, &manifest).await.unwrap();
    let session = Session::generate(manifest, bundle).unwrap();
    let mut keys = Vec::new();
    let set = session.evaluation_keys(&mut keys, |_, _| ()).unwrap();
    let key_id = api.upload_keys(id, keys, |_| ()).await.unwrap().key_id;
    assert_eq!(key_id, set.key_id);
    let model = ModelDir::open(models.join(id)).unwrap().model().unwrap();
    let mut answers = Vec::new();
    for query in &queries[..1] {
        let request = session.encrypt_query(query).unwrap();
        let limit = session.reply_limit().unwrap();
        let reply = api
            .infer(id, &key_id, Reply::Logits, request.frames, limit, |_| ())
            .await
            .unwrap();
        let decrypted = session.decrypt(&reply).unwrap();
        let wanted = model.forward(&request.x, Mode::Polynomial).unwrap();
        let error = largest_error(&decrypted.outputs, &wanted);
        println!(
            "{id}: largest error {error:.1e} of {:.2}",
            wanted.iter().fold(0.0_f64, |m, v| m.max(v.abs()))
        );
        assert!(error < 1.0 / 256.0, "{id}: {error}");
        let report = decrypted.report.unwrap();
        assert!(
            report.ops.iter().any(|op| op.layer == "layer0.attention"),
            "{:?}",
            report.ops
        );
        answers.push(session.answer(decrypted.outputs, request.tokens - 1));
    }
    (session, key_id, answers)
}

fn pinned(log_n: u32, log_slots: u32) -> Value {
    json!({ "log_n": log_n, "log_slots": log_slots, "log_scale": 35 })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_layers_in_several_ciphertexts_and_a_bad_request_of_each_kind() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    // 32 slots of 4 tokens hold 8 features in each part: 3 blocks, 2 ciphertexts.
    let queries = write_model(
        &models,
        "sentences",
        &config(Head::Embedding, 2),
        false,
        pinned(16, 5),
    );
    let server = LocalServer::start(Config::new(&models, dir.path().join("data")))
        .await
        .unwrap();
    let api = Api::new(server.url()).unwrap();
    let (session, key_id, answers) = ask(&api, &models, "sentences", &queries).await;
    let manifest = session.manifest();
    assert_eq!((manifest.inputs.len(), manifest.outputs.len()), (2, 2));
    for answer in &answers {
        let Answer::Embedding { vector } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(vector.len(), DIM);
        assert!((client::cosine(vector, vector) - 1.0).abs() < 1e-9);
        assert!((vector.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-9);
    }

    // what is not exactly the two ciphertexts is refused, and named
    let good = session.encrypt("good film").unwrap().frames;
    let (first, second) = good.split_at(good.len() / 2);
    let limit = session.reply_limit().unwrap();
    for (name, frames, status, word) in [
        ("one", first.to_vec(), 400, "ciphertext 2 of 2"),
        ("three", [first, second, first].concat(), 400, "left over"),
        (
            "five",
            [first, second, first, second, first].concat(),
            413,
            "larger",
        ),
        ("cut", good[..good.len() - 1].to_vec(), 400, "ciphertext 2 of 2"),
        (
            "garbage behind",
            [first, &[7; 100]].concat(),
            400,
            "ciphertext 2 of 2",
        ),
        ("none", Vec::new(), 400, "truncated"),
    ] {
        assert!(Session::check_request(manifest, name, &frames).is_err(), "{name}");
        match api
            .infer("sentences", &key_id, Reply::Logits, frames, limit, |_| ())
            .await
        {
            Err(Error::Refused {
                status: found,
                problem,
            }) => {
                assert_eq!(found, status, "{name}: {}", problem.detail);
                assert!(problem.detail.contains(word), "{name}: {}", problem.detail);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    // an answer under other keys is noise, and said to be
    let stranger =
        Session::generate(manifest.clone(), download_bundle(&api, manifest).await.unwrap().0).unwrap();
    let reply = api
        .infer("sentences", &key_id, Reply::Logits, good, limit, |_| ())
        .await
        .unwrap();
    assert!(matches!(stranger.decrypt(&reply), Err(Error::OtherKeys { .. })));
    assert!(session.decrypt(&reply[..reply.len() - 1]).is_err());

    // a manifest that contradicts itself is refused before anything is made of it
    let json = serde_json::to_string(manifest).unwrap();
    for (from, to) in [
        (r#""slots":32,"tokens":4"#, r#""slots":33,"tokens":4"#),
        (r#""slots":32,"tokens":4"#, r#""slots":32,"tokens":0"#),
        (r#""tokens":4,"sequences":1"#, r#""tokens":4,"sequences":0"#),
        (r#""tokens":4,"sequences":1"#, r#""tokens":4,"sequences":16"#),
        (
            r#""features":24,"input_scale""#,
            r#""features":65536,"input_scale""#,
        ),
        (r#""features":24,"input_scale""#, r#""features":32,"input_scale""#),
        (r#""input_scale":"#, r#""input_scale":-"#),
        (
            r#"{"kind":"same","features":24}"#,
            r#"{"kind":"each","features":24}"#,
        ),
        (
            r#"{"kind":"same","features":24}"#,
            r#"{"kind":"same","features":4}"#,
        ),
        (r#"{"kind":"embedding"}"#, r#"{"kind":"next_token"}"#),
        (r#""name":"x1""#, r#""name":"x0""#),
        (r#""name":"y1""#, r#""name":"y7""#),
        (
            r#"{"kind":"text"}"#,
            r#"{"kind":"patches","rows":4,"cols":4,"patch":2}"#,
        ),
    ] {
        assert!(json.contains(from), "{from} in {json}");
        let found = Manifest::from_json(json.replacen(from, to, 1).as_bytes());
        assert!(found.is_err(), "{from} -> {to}");
    }
    server.stop().await.unwrap();
}

/// The token after a text that fills the model, decided under encryption; of a shorter one its length would have to be told.
async fn label_of_the_last_position(api: &Api, session: Session, models: &Path) {
    let session = session.with_labels(None).unwrap();
    let mut keys = Vec::new();
    session.evaluation_keys(&mut keys, |_, _| ()).unwrap();
    let key_id = api.upload_keys("words", keys, |_| ()).await.unwrap().key_id;
    let short = session.encrypt("very good").unwrap();
    let error = session.check_label(&short).unwrap_err();
    assert!(
        matches!(error, Error::ShortText { needed: 4, found: 2 }),
        "{error}"
    );
    let request = session.encrypt("very very bad film").unwrap();
    session.check_label(&request).unwrap();
    label(api, &session, models, "words", &key_id, request, &WORDS).await;
}

/// The label of a request, not contradicted by the f64 forward, and called by its name.
async fn label(
    api: &Api,
    session: &Session,
    models: &Path,
    id: &str,
    key_id: &str,
    request: Request,
    names: &[&str],
) {
    let limit = session.reply_limit().unwrap();
    let reply = api
        .infer(id, key_id, Reply::Label, request.frames, limit, |_| ())
        .await
        .unwrap();
    let decrypted = session.decrypt(&reply).unwrap();
    assert!(decrypted.outputs.is_empty());
    let model = ModelDir::open(models.join(id)).unwrap().model().unwrap();
    let clear = model.forward(&request.x, Mode::Polynomial).unwrap();
    let (contradiction, resolution) = session.difference(&decrypted, &clear);
    assert!(contradiction <= resolution, "{contradiction} {resolution}");
    let Answer::Label { label, index } = session.answer_of(&decrypted, 0) else {
        panic!("a label needed");
    };
    println!("{id}: label {label:?} {index:?} of {clear:?}");
    assert_eq!(label.as_deref(), index.map(|index| names[index]));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_images_and_next_tokens_of_texts() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let mut images = config(
        Head::Classification {
            num_labels: 3,
            pool: Pool::Mean,
        },
        1,
    );
    // Small enough for the staircase, with more features in the feed-forward block than in a token.
    (images.dim, images.n_heads, images.hidden_dim) = (16, 2, 24);
    let clothes = ["shirt", "shoe", "bag"];
    images.id2label = [("0", clothes[0]), ("1", clothes[1]), ("2", clothes[2])]
        .map(|(id, name)| (id.to_owned(), name.to_owned()))
        .into();
    let staircase = json!({ "lowering": "staircase", "log_n": 15, "log_slots": 8, "log_scale": 35 });
    let images = write_model(&models, "images", &images, true, staircase);
    let mut words = config(Head::NextToken { vocab: WORDS.len() }, 1);
    words.attention.mask = Mask::Causal;
    let words = write_model(&models, "words", &words, false, pinned(15, 6));
    let decision = DecisionConfig {
        rule: Rule::ArgMax,
        range: 16.0,
        only: false,
    };
    for id in ["images", "words"] {
        let mut folder = ModelDir::open(models.join(id)).unwrap();
        folder.set_decision(decision).unwrap();
    }
    let server = LocalServer::start(Config::new(&models, dir.path().join("data")))
        .await
        .unwrap();
    let api = Api::new(server.url()).unwrap();
    let ids: Vec<String> = api.models().await.unwrap().into_iter().map(|m| m.id).collect();
    assert_eq!(ids, ["images", "words"]);

    let (session, _, answers) = ask(&api, &models, "images", &images).await;
    for answer in &answers {
        let Answer::Classification { label, logits, .. } = answer else {
            panic!("{answer:?}")
        };
        assert!(clothes.contains(&label.as_str()) && logits.len() == 3);
    }
    let refused = session.encrypt("a text").unwrap_err().to_string();
    assert!(
        refused.contains("an image of 4 rows of 4 grey pixels"),
        "{refused}"
    );
    assert!(matches!(
        session.encrypt_image(&[0; 15], 0),
        Err(Error::Image { .. })
    ));
    let session = session.with_labels(None).unwrap();
    let mut keys = Vec::new();
    session.evaluation_keys(&mut keys, |_, _| ()).unwrap();
    let key_id = api.upload_keys("images", keys, |_| ()).await.unwrap().key_id;
    let request = session.encrypt_query(&images[1]).unwrap();
    label(&api, &session, &models, "images", &key_id, request, &clothes).await;

    let (session, _, answers) = ask(&api, &models, "words", &words).await;
    for answer in &answers {
        let Answer::NextToken { position, tokens } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((*position, tokens.len()), (1, 5));
        assert!(
            tokens.iter().all(|token| token.text == WORDS[token.id]),
            "{tokens:?}"
        );
        assert!(tokens.is_sorted_by(|a, b| a.probability >= b.probability));
    }
    assert!(session.encrypt_image(&[0; 16], 0).is_err());
    label_of_the_last_position(&api, session, &models).await;
    server.stop().await.unwrap();
}

/// The example, with a model that takes seconds: once by an evaluation in process, once with a vector decrypted elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_with_a_private_query() {
    use clap::Parser;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    write_model(
        dir.path(),
        "sentences",
        &config(Head::Embedding, 1),
        false,
        pinned(15, 5),
    );
    fs::write(at("corpus"), TEXTS.join("\n")).unwrap();
    let common = [
        "search",
        "--models",
        &at(""),
        "-m",
        "sentences",
        "--corpus",
        &at("corpus"),
    ];
    let search = |more: &[&str]| search::search(search::Args::parse_from([&common, more].concat()));
    assert!(search(&["very bad film", "--check", "-k", "3"]).await.unwrap());
    let index: Value = serde_json::from_slice(&fs::read(at("corpus.index")).unwrap()).unwrap();
    assert_eq!(index["vectors"].as_array().unwrap().len(), TEXTS.len());
    fs::write(at("query.json"), index["vectors"][2].to_string()).unwrap();
    assert!(search(&["--vector", &at("query.json")]).await.unwrap());
    fs::write(at("query.json"), "[0.5, 0.5]").unwrap();
    let error = search(&["--vector", &at("query.json")]).await.unwrap_err();
    assert!(error.to_string().contains("another model"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_memory_says_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let small = config(Head::Embedding, 1);
    write_model(&models, "sentences", &small, false, pinned(15, 5));
    let mut config = Config::new(&models, dir.path().join("data"));
    config.memory_bytes = Some(300 << 20);
    let error = LocalServer::start(config.clone())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("model sentences") && error.contains("--memory-mib"),
        "{error}"
    );
    (config.memory_bytes, config.request_bytes) = (None, 1 << 10);
    let error = LocalServer::start(config).await.err().unwrap().to_string();
    assert!(error.contains("--request-mib"), "{error}");

    // A folder cannot ask for less than 128 bits, whatever features the server was built with.
    let weak = dir.path().join("weak");
    write_model(&weak, "sentences", &small, false, pinned(12, 5));
    let config = Config::new(&weak, dir.path().join("other"));
    let error = LocalServer::start(config).await.err().unwrap().to_string();
    assert!(error.contains("1 are secure with N = 2^12"), "{error}");
}

/// Bootstraps: the switches to the ephemeral secret and back go through manifest and upload like all other keys.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: hundreds of megabytes of keys"]
async fn a_plan_with_bootstraps() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    let head = Head::Classification {
        num_labels: 2,
        pool: Pool::Mean,
    };
    let plan = json!({ "log_n": 16, "log_slots": 5 });
    let queries = write_model(&models, "deep", &config(head, 2), false, plan);
    let model = ModelDir::open(models.join("deep")).unwrap().model().unwrap();
    assert!(model.choice.is_some());
    let server = LocalServer::start(Config::new(&models, dir.path().join("data")))
        .await
        .unwrap();
    let api = Api::new(server.url()).unwrap();
    let (session, ..) = ask(&api, &models, "deep", &queries).await;
    assert!(session.manifest().plan.bootstrap.is_some_and(|b| b.count > 0));
    let purposes = session.manifest().keys.iter().map(|key| key.purpose.as_str());
    assert!(
        purposes
            .into_iter()
            .any(|purpose| purpose == "switch to the ephemeral secret")
    );
    server.stop().await.unwrap();
}
