//! Writing a container.

use std::collections::HashSet;

use embedded_io::Write;

use super::{ALIGN, MAGIC, MAX_NAME, MAX_SECTIONS, Number, SectionData, Sections, SectionsError, VERSION};

/// A stream with a count of the bytes written and the section being written, for the error message.
struct Out<'w, W> {
    stream: &'w mut W,
    offset: u64,
    section: String,
}

impl<W: Write> Out<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), SectionsError> {
        let written = self.stream.write_all(bytes);
        written.map_err(|error| SectionsError::write(&self.section, self.offset, &error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Zeros up to the next multiple of the alignment.
    fn pad(&mut self) -> Result<(), SectionsError> {
        let missing = self.offset.next_multiple_of(ALIGN) - self.offset;
        self.put(&[0; ALIGN as usize][..missing as usize])
    }

    /// An array as it lies in memory; on big-endian machines number by number.
    fn numbers<T: Number>(&mut self, values: &[T]) -> Result<(), SectionsError> {
        if cfg!(target_endian = "little") {
            return self.put(bytemuck::cast_slice(values));
        }
        values.iter().try_for_each(|value| self.put(bytemuck::bytes_of(&value.little())))
    }
}

impl Sections<'_> {
    /// Bytes that [`Sections::write`] will write.
    pub fn len_bytes(&self) -> u64 {
        let one = |section: &super::Section<'_>| {
            section.head_bytes() + section.data.len_bytes().next_multiple_of(ALIGN)
        };
        ALIGN + self.sections.iter().map(one).sum::<u64>()
    }

    /// Writes the container, and flushes the stream. Borrowed arrays are written from where they lie.
    ///
    /// # Errors
    /// [`SectionsError::Name`], [`SectionsError::Duplicate`] or [`SectionsError::TooMany`] before anything is
    /// written; [`SectionsError::Write`] if the stream fails.
    pub fn write<W: Write>(&self, stream: &mut W) -> Result<(), SectionsError> {
        self.check()?;
        let mut out = Out { stream, offset: 0, section: "container header".to_owned() };
        out.put(&MAGIC)?;
        out.put(&VERSION.to_le_bytes())?;
        out.put(&(self.sections.len() as u32).to_le_bytes())?;
        out.put(&self.len_bytes().to_le_bytes())?;
        out.pad()?;
        for section in &self.sections {
            out.section = format!("section {:?}", section.name);
            out.put(&section.data.kind_id().to_le_bytes())?;
            out.put(&(section.name.len() as u32).to_le_bytes())?;
            out.put(&section.data.len_bytes().to_le_bytes())?;
            out.put(section.name.as_bytes())?;
            out.pad()?;
            match &section.data {
                SectionData::F32(values) => out.numbers(values)?,
                SectionData::U32(values) => out.numbers(values)?,
                SectionData::U64(values) => out.numbers(values)?,
                SectionData::Bytes(bytes) | SectionData::Unknown { bytes, .. } => out.put(bytes)?,
                SectionData::Text(text) => out.put(text.as_bytes())?,
            }
            out.pad()?;
        }
        let flushed = out.stream.flush();
        flushed.map_err(|error| SectionsError::write(&out.section, out.offset, &error))
    }

    /// Refuses what could not be read back.
    fn check(&self) -> Result<(), SectionsError> {
        if self.sections.len() > MAX_SECTIONS {
            return Err(SectionsError::TooMany { count: self.sections.len() as u64 });
        }
        let mut offset = ALIGN;
        let mut names = HashSet::new();
        for section in &self.sections {
            let name = &*section.name;
            if name.is_empty() || name.len() > MAX_NAME {
                let reason = if name.is_empty() { "is empty" } else { "is too long" };
                let section = format!("section {:?}", name.chars().take(40).collect::<String>());
                return Err(SectionsError::Name { section, offset, reason });
            }
            if !names.insert(name) {
                return Err(SectionsError::Duplicate { name: name.to_owned(), offset });
            }
            offset += section.head_bytes() + section.data.len_bytes().next_multiple_of(ALIGN);
        }
        Ok(())
    }
}
