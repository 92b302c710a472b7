//! What reads something that somebody else wrote, with small valid inputs of it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use parquet::data_type::{ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;

use spg::config::{Benchmark, Command, Overrides, ReportRequest, from_text, shipped};
use spg::grade::{judge, parse_rows};
use spg::hub::{HubRepo, Kind, Patience, Place};
use spg::model::{AdapterConfig, Blocks, Decoder, Description, WeightFiles, Weights};
use spg::report::{read_metrics, seal, verify, write_page};
use spg::signal::Stop;
use spg::task::Record;
use spg::task::command::{Request, RewardCommand};
use spg::task::data;
use spg::text::{ChatTemplate, Message, Tokenizer};
use spg::train::TrainerState;

/// A parser and what it is tried with.
pub struct Target {
    pub name: &'static str,
    /// Inputs of a short run: fewer of those that take long.
    pub inputs: usize,
    /// Inputs that are tried between two looks at clock and memory: more where an input takes less time than the look. They
    /// share a folder.
    pub together: usize,
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Gives an input to the parser, which may use an empty folder; whether it takes it for what it should be.
    pub take: fn(&Path, &[u8]) -> bool,
}

pub const TARGETS: &[Target] = &[
    Target { name: "configuration", inputs: 750, together: 1, seeds: configurations, take: configuration },
    Target { name: "config-json", inputs: 1500, together: 1, seeds: || vec![golden("config.json")], take: config_json },
    Target { name: "tokenizer", inputs: 600, together: 1, seeds: || vec![tiny("tokenizer.json")], take: tokenizer },
    Target { name: "template", inputs: 750, together: 1, seeds: templates, take: template },
    Target { name: "tokenizer-config", inputs: 600, together: 1, seeds: tokenizer_configs, take: tokenizer_config },
    Target { name: "safetensors", inputs: 1500, together: 1, seeds: || vec![safetensors()], take: weights },
    Target { name: "index", inputs: 1000, together: 1, seeds: indices, take: index },
    Target { name: "adapter-config", inputs: 1500, together: 1, seeds: adapter_configs, take: adapter_config },
    Target {
        name: "adapter",
        inputs: 60,
        together: 1,
        seeds: || vec![golden("adapter_model.safetensors")],
        take: adapter,
    },
    Target { name: "trainer-state", inputs: 1000, together: 1, seeds: trainer_states, take: trainer_state },
    Target { name: "manifest", inputs: 1000, together: 1, seeds: manifests, take: manifest },
    Target { name: "metrics", inputs: 1000, together: 1, seeds: metrics, take: rows_of_metrics },
    Target { name: "replay", inputs: 500, together: 1, seeds: replays, take: replay },
    Target {
        name: "json-lines",
        inputs: 1500,
        together: 1,
        seeds: json_lines,
        take: |dir, input| data(dir, "x.jsonl", input),
    },
    Target { name: "json", inputs: 1000, together: 1, seeds: lists, take: |dir, input| data(dir, "x.json", input) },
    Target { name: "csv", inputs: 1000, together: 1, seeds: csv, take: |dir, input| data(dir, "x.csv", input) },
    Target {
        name: "parquet",
        inputs: 2000,
        together: 1,
        seeds: || vec![parquet()],
        take: |dir, input| data(dir, "x.parquet", input),
    },
    Target { name: "gguf", inputs: 1500, together: 1, seeds: || vec![gguf()], take: gguf_weights },
    Target { name: "hub", inputs: 60, together: 1, seeds: listings, take: hub },
    Target {
        name: "reward-answer",
        inputs: 12,
        together: 1,
        seeds: || vec![b"{\"reward\": 0.5, \"parts\": {\"a\": 1}}\n".to_vec()],
        take: answer,
    },
    Target { name: "rows-to-grade", inputs: 1500, together: 1, seeds: json_lines, take: rows_to_grade },
    Target {
        name: "gsm8k",
        inputs: 10000,
        together: 100,
        seeds: completions,
        take: |_, input| graded(Benchmark::Gsm8k, input),
    },
    Target {
        name: "math",
        inputs: 10000,
        together: 100,
        seeds: completions,
        take: |_, input| graded(Benchmark::Math, input),
    },
    Target {
        name: "countdown",
        inputs: 10000,
        together: 100,
        seeds: completions,
        take: |_, input| graded(Benchmark::Countdown, input),
    },
    Target {
        name: "sudoku",
        inputs: 10000,
        together: 100,
        seeds: completions,
        take: |_, input| graded(Benchmark::Sudoku, input),
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(root().join("tests/fixtures/golden/gqa_small").join(name)).expect("a fixture")
}

fn tiny(name: &str) -> Vec<u8> {
    std::fs::read(root().join("examples/sudoku-tiny").join(name)).expect("an example")
}

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join(name), bytes).expect("written");
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn configurations() -> Vec<Vec<u8>> {
    ["sudoku-tiny", "gsm8k", "countdown-tiny"].map(|name| shipped(name).expect("shipped").as_bytes().to_vec()).to_vec()
}

fn configuration(_: &Path, input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    from_text("fuzz.toml".as_ref(), &text, &Overrides::default(), Command::Train).is_ok()
}

fn config_json(dir: &Path, input: &[u8]) -> bool {
    put(dir, "config.json", input);
    Description::read(dir).is_ok()
}

fn tokenizer(dir: &Path, input: &[u8]) -> bool {
    put(dir, "tokenizer.json", input);
    let Ok(tokenizer) = Tokenizer::load(dir) else { return false };
    let ids = tokenizer.encode("12 <answer>\n\u{1f600} a").unwrap_or_default();
    tokenizer.pieces(&ids);
    tokenizer.decode(&[0, 3, u32::MAX]);
    true
}

fn templates() -> Vec<Vec<u8>> {
    texts(&[
        "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}\n{% endfor %}{% if add_generation_prompt %}<|a|>{% endif %}",
        "{% set x = namespace(n=0) %}{% for i in range(3) %}{% set x.n = x.n + i %}{% endfor %}{{ x.n }}{{ messages | length }}",
        "{% macro say(x) %}{{ x ~ '!' }}{% endmacro %}{{ say(messages[0].content[:3]) }}{{ '%s-%d' | format('a', 3) }}",
    ])
}

fn rendered(dir: &Path) -> bool {
    let messages = [Message::user("What is 7 times 8?"), Message::user("And 9?")];
    matches!(ChatTemplate::load(dir), Ok(Some(template)) if template.render(&messages, true).is_ok())
}

fn template(dir: &Path, input: &[u8]) -> bool {
    put(dir, "tokenizer_config.json", b"{}");
    put(dir, "chat_template.jinja", input);
    rendered(dir)
}

fn tokenizer_configs() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"chat_template": "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}", "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}}"#,
        r#"{"chat_template": [{"name": "default", "template": "{{ messages[0].content }}"}], "bos_token": null}"#,
    ])
}

fn tokenizer_config(dir: &Path, input: &[u8]) -> bool {
    put(dir, "tokenizer_config.json", input);
    rendered(dir)
}

fn safetensors() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.safetensors");
    let tensor = |dtype| Tensor::arange(0f32, 12.0, &Device::Cpu).expect("numbers").to_dtype(dtype).expect("a dtype");
    let tensors = [("a", tensor(DType::F32)), ("b.weight", tensor(DType::BF16)), ("c", tensor(DType::F16))];
    let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    candle_core::safetensors::save(&tensors, &path).expect("written");
    std::fs::read(path).expect("read")
}

fn all_loaded(files: &WeightFiles) -> bool {
    let names: Vec<String> = files.names().map(str::to_owned).collect();
    names.iter().all(|name| files.load(name, DType::F32, &Device::Cpu).is_ok())
}

fn weights(dir: &Path, input: &[u8]) -> bool {
    put(dir, "x.safetensors", input);
    WeightFiles::open_file(&dir.join("x.safetensors")).is_ok_and(|files| all_loaded(&files))
}

fn indices() -> Vec<Vec<u8>> {
    let map = json!({"a": "one.safetensors", "b.weight": "one.safetensors", "c": "one.safetensors"});
    vec![json!({"metadata": {"total_size": 96}, "weight_map": map}).to_string().into_bytes()]
}

fn index(dir: &Path, input: &[u8]) -> bool {
    put(dir, "one.safetensors", &safetensors());
    put(dir, "model.safetensors.index.json", input);
    WeightFiles::open(dir).is_ok_and(|files| all_loaded(&files))
}

fn adapter_configs() -> Vec<Vec<u8>> {
    let pattern = json!({
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none",
        "rank_pattern": {"^model\\.transformer\\.blocks\\.[01]\\.q_proj": 2}, "alpha_pattern": {"q_proj": 3},
        "layers_to_transform": [0, 1], "layers_pattern": "blocks"
    });
    vec![golden("adapter_config.json"), pattern.to_string().into_bytes()]
}

fn adapter_config(dir: &Path, input: &[u8]) -> bool {
    put(dir, "adapter_config.json", input);
    AdapterConfig::load(dir).is_ok()
}

fn adapter(dir: &Path, input: &[u8]) -> bool {
    put(dir, "adapter_config.json", &golden("adapter_config.json"));
    put(dir, "adapter_model.safetensors", input);
    let base = root().join("tests/fixtures/golden/gqa_small");
    let mut model = Decoder::load(&base, DType::F32, &Device::Cpu, Weights::Frozen).expect("a fixture");
    model.load_adapter(dir).is_ok()
}

fn trainer_states() -> Vec<Vec<u8>> {
    let belongs = json!({
        "base_model": "m", "base_config": "c", "base_weights": null, "tokenizer": "t", "train_records": "r",
        "adapters": {"blocks.0.q_proj": "r 16, scale 1"}, "config": {"run": {"seed": 1}}
    });
    let state = json!({
        "command": "train", "global_step": 40, "seed": 1, "revision": "x", "belongs": belongs, "best_metric": 0.5,
        "best_global_step": 20
    });
    vec![state.to_string().into_bytes()]
}

fn trainer_state(dir: &Path, input: &[u8]) -> bool {
    put(dir, "trainer_state.json", input);
    TrainerState::load(dir).is_ok()
}

/// A checkpoint whose files are the same for all inputs.
fn checkpoint(dir: &Path) {
    put(dir, "trainer_state.json", b"{}");
    put(dir, "adapter_model.safetensors", b"weights");
}

fn manifests() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a folder");
    checkpoint(dir.path());
    seal(dir.path(), 4).expect("sealed");
    vec![std::fs::read(dir.path().join("manifest.json")).expect("a manifest")]
}

fn manifest(dir: &Path, input: &[u8]) -> bool {
    checkpoint(dir);
    put(dir, "manifest.json", input);
    verify(dir).is_ok()
}

fn metrics() -> Vec<Vec<u8>> {
    texts(&[
        "{\"step\":0,\"eval/greedy/accuracy\":0.5,\"eval/greedy/reward\":0.5}\n{\"step\":1,\"reward\":0.25,\"kl\":null}\n",
    ])
}

fn rows_of_metrics(dir: &Path, input: &[u8]) -> bool {
    put(dir, "metrics.jsonl", input);
    read_metrics(&dir.join("metrics.jsonl")).is_ok()
}

fn replays() -> Vec<Vec<u8>> {
    let replay = json!([{
        "setting": "greedy", "remasking": "low_confidence", "prompt": "1+1", "reward": 1.0, "length": 2,
        "pieces": ["2", "</s>", ""], "commits": [[0, 0, 0.9], [1, 1, 0.5], [2, 1, 0.25]]
    }]);
    vec![replay.to_string().into_bytes()]
}

/// The report of a run that kept it.
fn replay(dir: &Path, input: &[u8]) -> bool {
    put(dir, "config.toml", shipped("sudoku-tiny").expect("shipped").as_bytes());
    put(dir, "metrics.jsonl", &metrics()[0]);
    std::fs::create_dir(dir.join("completions")).expect("a folder");
    put(dir, "completions/replay_00000.json", input);
    write_page(&ReportRequest { dirs: vec![dir.to_owned()], out: None }).is_ok()
}

fn data(dir: &Path, name: &str, input: &[u8]) -> bool {
    put(dir, name, input);
    data::read(&dir.join(name)).is_ok()
}

fn json_lines() -> Vec<Vec<u8>> {
    texts(&[
        "{\"question\": \"1+1?\", \"ground_truth\": \"2\", \"completion\": \"<answer>2</answer>\", \"n\": [1, 2.5, null]}\n\
         {\"question\": \"\\u00e9\", \"ground_truth\": 3, \"completion\": \"\\\\boxed{3}\", \"n\": []}\n",
        "{\"doc_id\": 0, \"doc\": {\"ground_truth\": \"2\"}, \"resps\": [[\"2\", \"3\"]], \"filter\": \"none\"}\n",
    ])
}

fn lists() -> Vec<Vec<u8>> {
    texts(&["[{\"a\": 1, \"b\": \"x\"}, {\"a\": 2, \"b\": null}]"])
}

fn csv() -> Vec<Vec<u8>> {
    texts(&["question,answer\n\"a, \"\"b\"\"\",1\nc,\"2\n3\"\n"])
}

fn parquet() -> Vec<u8> {
    let schema = "message rows { required int64 n; required binary text (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).expect("a file");
    let mut group = file.next_row_group().expect("a group");
    let mut column = group.next_column().expect("a column").expect("the first");
    column.typed::<Int64Type>().write_batch(&[1, 2, 3], None, None).expect("written");
    column.close().expect("closed");
    let mut column = group.next_column().expect("a column").expect("the second");
    let values = ["a", "b", "é"].map(|text| text.into());
    column.typed::<ByteArrayType>().write_batch(&values, None, None).expect("written");
    column.close().expect("closed");
    group.close().expect("closed");
    file.into_inner().expect("a file")
}

/// The golden model under llama.cpp's names.
fn gguf() -> Vec<u8> {
    let path = root().join("tests/fixtures/golden/gqa_small/model.safetensors");
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).expect("a fixture");
    let leaves = [
        ("attn_norm", "attn_norm"),
        ("q_proj", "attn_q"),
        ("k_proj", "attn_k"),
        ("v_proj", "attn_v"),
        ("attn_out", "attn_output"),
        ("ff_norm", "ffn_norm"),
        ("ff_proj", "ffn_gate"),
        ("up_proj", "ffn_up"),
        ("ff_out", "ffn_down"),
    ];
    let renamed = |name: &str| -> String {
        let name = name.trim_start_matches("model.transformer.");
        match name.split('.').collect::<Vec<_>>()[..] {
            ["blocks", layer, leaf, _] => {
                let (_, leaf) = leaves.iter().find(|(own, _)| *own == leaf).expect("a leaf");
                format!("blk.{layer}.{leaf}.weight")
            }
            ["wte", _] => "token_embd.weight".into(),
            ["ln_f", _] => "output_norm.weight".into(),
            _ => "output.weight".into(),
        }
    };
    let tensor = |tensor: &Tensor| QTensor::quantize(tensor, GgmlDType::F32).expect("numbers");
    let tensors: Vec<(String, QTensor)> = tensors.iter().map(|(name, t)| (renamed(name), tensor(t))).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata = gguf_file::Value::String("llada".into());
    let mut bytes = std::io::Cursor::new(Vec::new());
    gguf_file::write(&mut bytes, &[("general.architecture", &metadata)], &tensors).expect("written");
    bytes.into_inner()
}

fn gguf_weights(dir: &Path, input: &[u8]) -> bool {
    put(dir, "config.json", &golden("config.json"));
    put(dir, "x.gguf", input);
    let path = dir.join("x.gguf");
    Decoder::load_quantised(dir, DType::F32, &Device::Cpu, Blocks::Gguf(&path)).is_ok()
}

fn listings() -> Vec<Vec<u8>> {
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let files = [json!({"rfilename": "config.json"}), json!({"rfilename": "a/b.parquet"})];
    vec![json!({"sha": sha, "siblings": files}).to_string().into_bytes()]
}

/// A hub that says the same to everybody, once.
fn hub(dir: &Path, input: &[u8]) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let body = input.to_vec();
    let server = std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        respond(&mut stream, &body);
    });
    let patience = Patience { silence: Duration::from_secs(2), first_wait: Duration::from_millis(1), retries: 0 };
    let place = Place { cache: dir.to_owned(), endpoint: Some(address.clone()), patience, ..Place::default() };
    let repo = HubRepo::at(place, Kind::Model, "owner/name", "main").expect("a name");
    let listed = repo.list().is_ok();
    // if it was not asked at all
    drop(TcpStream::connect(address.trim_start_matches("http://")));
    server.join().expect("it ends");
    listed
}

fn respond(stream: &mut TcpStream, body: &[u8]) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        request.push(byte[0]);
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// A reward command that answers with the input.
fn answer(dir: &Path, input: &[u8]) -> bool {
    put(dir, "answer", input);
    let script = format!("while read -r line; do cat '{}'; done", dir.join("answer").display());
    let command = RewardCommand::new(["sh", "-c", &script].map(str::to_owned).to_vec(), Duration::from_millis(300));
    let record = Record::from([("a", "b".to_owned())]);
    command.score(&[Request { prompt: "p", completion: "c", record: &record }], &Stop::default()).is_ok()
}

fn rows_to_grade(_: &Path, input: &[u8]) -> bool {
    let Ok(rows) = parse_rows(Benchmark::Gsm8k, input) else { return false };
    rows.rows.iter().for_each(|row| drop(judge(Benchmark::Gsm8k, row, None)));
    true
}

fn completions() -> Vec<Vec<u8>> {
    texts(&[
        "<reasoning>\n48 / 2 = 24, 3 * $1,000.50 = 50%\n</reasoning>\n<answer>\n\\boxed{\\frac{1}{2}}\n</answer><|eot_id|>",
        "\\boxed{(1 + 2) * 3 - 4/2} cm^2, \\dfrac12, \\sqrt[3]{8}, 1\\frac{1}{2}, [1, 2) \\cup \\{3\\}, x^{10}",
        "<answer>(4 * 25) - 8 + 1</answer> 1234341221434321 <answer>1e999999999</answer> -0x10 ١٢٣ ½",
    ])
}

/// The verdict on an input as a completion, under both forms of its record.
fn graded(task: Benchmark, input: &[u8]) -> bool {
    let completion = String::from_utf8_lossy(input);
    let fields = match task {
        Benchmark::Gsm8k => json!({"ground_truth": "24"}),
        Benchmark::Math => json!({"ground_truth": "\\frac{1}{2}", "solution": "it is \\boxed{0.5}"}),
        Benchmark::Countdown => json!({"numbers": [4, 25, 8, 1], "target": 93}),
        Benchmark::Sudoku => json!({"puzzle": "1200341200430021", "solution": "1234341221434321"}),
    };
    let mut row = fields;
    row["completion"] = completion.into();
    let rows = parse_rows(task, row.to_string().as_bytes()).expect("a row");
    rows.rows.iter().all(|row| judge(task, row, None).is_ok())
}
