//! From conversations in memory to a trainer.

use crate::model::Model;
use crate::text::{ChatTemplate, Message, Tokenizer};
use crate::train::data::{Dataset, EncodeOptions, Encoder, Report};
use crate::train::{Place, Settings, TrainError, Trainer};

impl Trainer {
    /// Supervised fine-tuning on conversations in memory, with the model's own tokenizer and chat template: what is learnt is
    /// what the assistant says in each. Rows that cannot be used, or are longer than `settings.seq` tokens, are skipped, and in
    /// the report.
    ///
    /// ```no_run
    /// use emberlm::model::Model;
    /// use emberlm::text::Message;
    /// use emberlm::train::{Place, Settings, Trainer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let rows = vec![vec![
    ///     Message::new("user", "Where is the spare key?"),
    ///     Message::new("assistant", "Under the blue flowerpot."),
    /// ]];
    /// let model = Model::open("model.gguf")?;
    /// let settings = Settings { epochs: 20, ..Settings::default() };
    /// let (mut trainer, report) = Trainer::from_rows(&model, &rows, &settings, &Place::default())?;
    /// println!("{report}");
    /// while let Some(step) = trainer.step(&mut |_| ())? {
    ///     println!("step {}: loss {:.3}", step.step, step.loss);
    /// }
    /// trainer.adapter(Default::default())?.save("mine.gguf")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::new`], and [`TrainError::Data`] where the model has no tokenizer or no row can be used.
    pub fn from_rows(
        model: &Model,
        rows: &[Vec<Message>],
        settings: &Settings,
        place: &Place,
    ) -> Result<(Self, Report), TrainError> {
        let metadata = &model.gguf().metadata;
        let tokenizer = Tokenizer::from_metadata(metadata).map_err(|e| TrainError::Data(e.to_string()))?;
        let template = ChatTemplate::from_metadata(metadata, &tokenizer);
        let template = template.map_err(|e| TrainError::Data(e.to_string()))?;
        let options = EncodeOptions { max_len: settings.seq, ..EncodeOptions::default() };
        let encoder = Encoder::new(&tokenizer, template.as_ref(), options);
        let made = Dataset::from_rows(rows, &encoder);
        let (dataset, report) = made.map_err(|e| TrainError::Data(e.to_string()))?;
        Ok((Self::new(model, dataset.items, vec![], settings, place, None)?, report))
    }
}
