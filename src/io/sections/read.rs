//! Reading a container, from a stream into memory of its own or from bytes where they lie.

use std::borrow::Cow;

use embedded_io::Read;

use super::{
    ALIGN, MAGIC, MAX_NAME, MAX_SECTIONS, Number, Section, SectionData, Sections, SectionsError, VERSION,
};

/// Where a container's bytes come from. The caller has made sure that no more is asked for than the container
/// claims to have.
trait Source<'a> {
    /// The next bytes, copied.
    fn fill(&mut self, buf: &mut [u8], section: &str, offset: u64) -> Result<(), SectionsError>;

    /// The next `count` elements, borrowed if that is possible.
    fn array<T: Number>(
        &mut self,
        count: usize,
        section: &str,
        offset: u64,
    ) -> Result<Cow<'a, [T]>, SectionsError> {
        let mut values = reserved(count, section)?;
        values.resize(count, T::zeroed());
        self.fill(bytemuck::cast_slice_mut(&mut values), section, offset)?;
        values.iter_mut().for_each(|value| *value = value.little());
        Ok(Cow::Owned(values))
    }
}

/// A vector with room for `count` elements.
fn reserved<T>(count: usize, section: &str) -> Result<Vec<T>, SectionsError> {
    let mut values = Vec::new();
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    let memory = |_| SectionsError::Memory { section: section.to_owned(), bytes };
    values.try_reserve_exact(count).map_err(memory)?;
    Ok(values)
}

struct Stream<'r, R>(&'r mut R);

impl<R: Read> Source<'static> for Stream<'_, R> {
    fn fill(&mut self, buf: &mut [u8], section: &str, offset: u64) -> Result<(), SectionsError> {
        let mut filled = 0;
        while filled < buf.len() {
            let at = offset + filled as u64;
            match self.0.read(&mut buf[filled..]) {
                Ok(0) => {
                    return Err(SectionsError::truncated(section, at, (buf.len() - filled) as u64, 0));
                }
                Ok(n) => filled += n,
                Err(error) => return Err(SectionsError::read(section, at, &error)),
            }
        }
        Ok(())
    }
}

struct Slice<'a>(&'a [u8]);

impl<'a> Slice<'a> {
    fn take(&mut self, count: usize, section: &str, offset: u64) -> Result<&'a [u8], SectionsError> {
        let left = self.0.len() as u64;
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| SectionsError::truncated(section, offset, count as u64, left))?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Source<'a> for Slice<'a> {
    fn fill(&mut self, buf: &mut [u8], section: &str, offset: u64) -> Result<(), SectionsError> {
        buf.copy_from_slice(self.take(buf.len(), section, offset)?);
        Ok(())
    }

    fn array<T: Number>(
        &mut self,
        count: usize,
        section: &str,
        offset: u64,
    ) -> Result<Cow<'a, [T]>, SectionsError> {
        let bytes = self.take(count.saturating_mul(size_of::<T>()), section, offset)?;
        if cfg!(target_endian = "little")
            && let Ok(values) = bytemuck::try_cast_slice(bytes)
        {
            return Ok(Cow::Borrowed(values));
        }
        let mut values = reserved(count, section)?;
        values.extend(
            bytes.chunks_exact(size_of::<T>()).map(|b| bytemuck::pod_read_unaligned::<T>(b).little()),
        );
        Ok(Cow::Owned(values))
    }
}

impl Sections<'static> {
    /// Reads a container from a stream that has `available` bytes left: what it can be trusted to give, such as
    /// the length of a file or [`SlotReader::remaining`](crate::io::commit::SlotReader::remaining). No more memory
    /// is taken than that. Reading stops at the container's end.
    ///
    /// # Errors
    /// [`SectionsError`]: what is wrong, in which section, at which offset.
    pub fn read<R: Read>(stream: &mut R, available: u64) -> Result<Self, SectionsError> {
        parse(Stream(stream), available).map(|(sections, _)| sections)
    }
}

impl<'a> Sections<'a> {
    /// Reads a container that is all of `bytes`. Arrays and texts are used where they lie; arrays are copied if
    /// `bytes` is not aligned to their elements (a mapped file is).
    ///
    /// # Errors
    /// [`SectionsError`]: what is wrong, in which section, at which offset.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, SectionsError> {
        let available = bytes.len() as u64;
        let (sections, total) = parse(Slice(bytes), available)?;
        match available - total {
            0 => Ok(sections),
            extra => Err(SectionsError::Trailing { offset: total, extra }),
        }
    }
}

/// A source with the container's bounds and the place within them.
struct Reader<S> {
    source: S,
    offset: u64,
    total: u64,
}

impl<'a, S: Source<'a>> Reader<S> {
    /// Makes sure that the container has `bytes` more.
    fn claim(&self, bytes: u64, section: &str) -> Result<(), SectionsError> {
        let left = self.total - self.offset;
        if bytes > left {
            return Err(SectionsError::truncated(section, self.offset, bytes, left));
        }
        Ok(())
    }

    fn fill(&mut self, buf: &mut [u8], section: &str) -> Result<(), SectionsError> {
        self.claim(buf.len() as u64, section)?;
        self.source.fill(buf, section, self.offset)?;
        self.offset += buf.len() as u64;
        Ok(())
    }

    /// Steps over zeros up to the next multiple of the alignment.
    fn pad(&mut self, section: &str) -> Result<(), SectionsError> {
        let offset = self.offset;
        let mut zeros = [0; ALIGN as usize];
        let zeros = &mut zeros[..(offset.next_multiple_of(ALIGN) - offset) as usize];
        self.fill(zeros, section)?;
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(SectionsError::Padding { section: section.to_owned(), offset });
        }
        Ok(())
    }

    /// `bytes` of data as elements.
    fn array<T: Number>(
        &mut self,
        bytes: u64,
        section: &str,
        kind: &'static str,
    ) -> Result<Cow<'a, [T]>, SectionsError> {
        self.claim(bytes, section)?;
        let size = size_of::<T>() as u64;
        if !bytes.is_multiple_of(size) {
            let (section, offset) = (section.to_owned(), self.offset);
            return Err(SectionsError::Ragged { section, offset, bytes, kind });
        }
        let memory = |_| SectionsError::Memory { section: section.to_owned(), bytes };
        let count = usize::try_from(bytes / size).map_err(memory)?;
        let values = self.source.array(count, section, self.offset)?;
        self.offset += bytes;
        Ok(values)
    }

    fn text(&mut self, bytes: u64, section: &str) -> Result<Cow<'a, str>, SectionsError> {
        let start = self.offset;
        let bad = |error: std::str::Utf8Error| SectionsError::NotText {
            section: section.to_owned(),
            offset: start + error.valid_up_to() as u64,
        };
        match self.array::<u8>(bytes, section, "text")? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(bad),
            Cow::Owned(bytes) => {
                String::from_utf8(bytes).map(Cow::Owned).map_err(|error| bad(error.utf8_error()))
            }
        }
    }

    /// One section; `index` is for messages until the name is known.
    fn section(&mut self, index: usize) -> Result<Section<'a>, SectionsError> {
        let start = self.offset;
        let nameless = format!("section number {index}");
        let mut head = [0; 16];
        self.fill(&mut head, &nameless)?;
        let (kind, name_len, bytes) = (u32_at(&head, 0), u32_at(&head, 4) as usize, u64_at(&head, 8));
        let bad_name = |reason| SectionsError::Name { section: nameless.clone(), offset: start, reason };
        match name_len {
            0 => return Err(bad_name("is empty")),
            1..=MAX_NAME => {}
            _ => return Err(bad_name("is too long")),
        }
        let mut name = [0; MAX_NAME];
        self.fill(&mut name[..name_len], &nameless)?;
        let name = std::str::from_utf8(&name[..name_len]).map_err(|_| bad_name("is not UTF-8"))?;
        let section = format!("section {name:?}");
        self.pad(&section)?;
        let data = match kind {
            1 => SectionData::F32(self.array(bytes, &section, "f32")?),
            2 => SectionData::U32(self.array(bytes, &section, "u32")?),
            3 => SectionData::U64(self.array(bytes, &section, "u64")?),
            4 => SectionData::Bytes(self.array(bytes, &section, "byte")?),
            5 => SectionData::Text(self.text(bytes, &section)?),
            _ => SectionData::Unknown { kind, bytes: self.array(bytes, &section, "byte")? },
        };
        self.pad(&section)?;
        Ok(Section { name: Cow::Owned(name.to_owned()), data })
    }
}

/// Reads all sections, and gives the container's length.
fn parse<'a, S: Source<'a>>(source: S, available: u64) -> Result<(Sections<'a>, u64), SectionsError> {
    const HEADER: &str = "container header";
    let mut reader = Reader { source, offset: 0, total: available };
    let mut head = [0; 24];
    reader.fill(&mut head, HEADER)?;
    let magic: [u8; 8] = std::array::from_fn(|i| head[i]);
    if magic != MAGIC {
        return Err(SectionsError::Magic { found: magic });
    }
    let (version, count, total) = (u32_at(&head, 8), u32_at(&head, 12) as usize, u64_at(&head, 16));
    if version != VERSION {
        return Err(SectionsError::Version { version });
    }
    if total > available {
        return Err(SectionsError::truncated(HEADER, 16, total, available));
    }
    if count > MAX_SECTIONS {
        return Err(SectionsError::TooMany { count: count as u64 });
    }
    // Each section has 64 bytes or more, which bounds the table below by the container.
    let least = (count as u64 + 1) * ALIGN;
    if least > total {
        return Err(SectionsError::truncated(HEADER, 12, least, total));
    }
    reader.total = total;
    reader.pad(HEADER)?;
    let mut sections: Vec<Section<'a>> = reserved(count, HEADER)?;
    let mut starts: Vec<u64> = reserved(count, HEADER)?;
    for index in 0..count {
        starts.push(reader.offset);
        sections.push(reader.section(index)?);
    }
    if reader.offset != total {
        return Err(SectionsError::Trailing { offset: reader.offset, extra: total - reader.offset });
    }
    check_names(&sections, &starts)?;
    Ok((Sections { sections }, total))
}

/// Refuses two sections of one name.
fn check_names(sections: &[Section<'_>], starts: &[u64]) -> Result<(), SectionsError> {
    let mut order: Vec<usize> = reserved(sections.len(), "container header")?;
    order.extend(0..sections.len());
    order.sort_unstable_by(|&a, &b| (&sections[a].name, a).cmp(&(&sections[b].name, b)));
    match order.windows(2).find(|pair| sections[pair[0]].name == sections[pair[1]].name) {
        None => Ok(()),
        Some(pair) => Err(SectionsError::Duplicate {
            name: sections[pair[1]].name.to_string(),
            offset: starts[pair[1]],
        }),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
