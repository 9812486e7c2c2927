use emberlm::model::*; use emberlm::session::*;
fn npy(p:&str)->Vec<u8>{let b=std::fs::read(p).unwrap();let n=u16::from_le_bytes([b[8],b[9]]) as usize;b[10+n..].to_vec()}
fn f32s(p:&str)->Vec<f32>{npy(p).chunks(4).map(|c|f32::from_le_bytes(c.try_into().unwrap())).collect()}
fn i32s(p:&str)->Vec<u32>{npy(p).chunks(4).map(|c|u32::from_le_bytes(c.try_into().unwrap())).collect()}
fn rel(a:&[f32],b:&[f32])->f64{let n:f64=a.iter().zip(b).map(|(a,b)|((a-b) as f64).powi(2)).sum();let d:f64=b.iter().map(|b|(*b as f64).powi(2)).sum();(n/d).sqrt()}
#[test] fn archs(){
 for e in std::fs::read_dir("tests/golden/arch").unwrap(){let p=e.unwrap().path();if p.extension().map_or(true,|x|x!="gguf"){continue}
  let s=p.to_str().unwrap().trim_end_matches(".gguf").to_string();
  let toks=i32s(&format!("{s}.tokens.npy"));let want=f32s(&format!("{s}.logits.npy"));
  for double in [false,true]{ for kv in [KvType::F32,KvType::F16]{ if double&&kv==KvType::F16{continue}
  let m=match Model::open(&p){Ok(m)=>m,Err(e)=>{println!("{s}: {e}");continue}};
  let o=SessionOptions{device:DeviceChoice::Cpu,double,kv,ctx:Some(64),chunk:Some(7),logit_rows:7,modes:Modes::LOGITS,..Default::default()};
  let mut ses=Session::new(&m,&o).unwrap();let got=ses.all_logits(&toks).unwrap();
  println!("{s} double={double} {kv:?} rel {:.3e} len {} {}",rel(&got,&want),got.len(),want.len());}}
 }}
#[test] fn smol(){
 let m=Model::open("/work/cache/SmolLM2-135M-Instruct.Q4_1.gguf").unwrap();
 for kv in [KvType::F32,KvType::F16]{
 let o=SessionOptions{device:DeviceChoice::Cpu,kv,ctx:Some(2048),modes:Modes{generate:true,logits:true,score:false},..Default::default()};
 let t=std::time::Instant::now();
 let mut ses=Session::new(&m,&o).unwrap();println!("boot {:?}",t.elapsed());
 for n in ["p00_plain","p02_chat_default","p08_long_800"]{
  let d="/work/shared/reference/hf_f32/";let toks=i32s(&format!("{d}{n}.tokens.npy"));let want=f32s(&format!("{d}{n}.logits_last.npy"));
  let t=std::time::Instant::now();ses.reset();let got=ses.logits(&toks).unwrap();println!("{n} {kv:?} rel {:.3e} {} toks {:?}",rel(&got,&want),toks.len(),t.elapsed());
  let g=i32s(&format!("{d}{n}.greedy.npy"));let g:Vec<u32>=g;
  let r=ses.generate(&toks,emberlm::text::SamplerParams::greedy(),64,&mut |_|std::ops::ControlFlow::Continue(())).unwrap();
  let eq=r.tokens.iter().zip(&g).take_while(|(a,b)|a==b).count();
  println!("   greedy equal {eq} reused {} first {:?} decode {:?} {:.1} tok/s",r.reused,r.first_token,r.decode,63.0/r.decode.as_secs_f64());
 }
 ses.executor_mut().profile(true);
 let toks=i32s("/work/shared/reference/hf_f32/p00_plain.tokens.npy");
 ses.generate(&toks,emberlm::text::SamplerParams::greedy(),64,&mut |_|std::ops::ControlFlow::Continue(())).unwrap();
 for t in ses.executor_mut().op_times().unwrap(){println!("{t:?}");}
 }}
