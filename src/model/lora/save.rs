//! Writing a model's adapters.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{ADAPTER_CONFIG, ADAPTER_FILE};
use crate::model::decoder::Decoder;
use crate::model::load::write_safetensors;

impl Decoder {
    /// Writes the adapters so that PEFT loads them: the same modules, ranks and scales, for a base model at a commit of
    /// the hub, if it is of the hub.
    ///
    /// # Errors
    /// Names the file that cannot be written; a model without adapters.
    pub fn save_adapter(&self, dir: &Path, base_model: &str, revision: Option<&str>) -> Result<()> {
        let adapters: Vec<_> = self.linears().filter_map(|linear| linear.adapter.as_ref()).collect();
        let (Some(config), Some(first)) = (&self.adapters, adapters.first()) else {
            bail!("the model has no adapters to save")
        };
        let params = adapters.iter().flat_map(|adapter| [&adapter.a, &adapter.b]);
        let tensors: BTreeMap<_, _> = params.map(|p| (p.name().to_owned(), p.value().clone())).collect();
        let path = dir.join(ADAPTER_CONFIG);
        let text = serde_json::to_string_pretty(&config.to_json(first.dropout, base_model, revision))? + "\n";
        File::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        write_safetensors(&dir.join(ADAPTER_FILE), &tensors, &[("format", "pt")])
    }
}
