//! stub
#![allow(missing_docs, clippy::all, clippy::pedantic, unused)]
use std::num::NonZeroU64; use std::sync::Arc; use std::path::{Path,PathBuf}; use std::time::Duration;
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)] pub struct Locator(NonZeroU64);
impl Locator { pub fn get(self)->u64{self.0.get()} pub fn from_u64(v:u64)->Option<Self>{NonZeroU64::new(v).map(Self)} }
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)] pub struct Ticket(u64);
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)] pub struct DestinationId(pub u32);
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)] pub struct SubscriptionId(pub u32);
pub struct StoredMessage<'a> { pub wire:u8,pub flags:u8,pub priority:u8,pub origin:u64,pub serial:u64,pub timestamp_ms:u64,pub expires_ms:u64,pub head:&'a [u8],pub body:&'a [u8] }
pub struct Patch<'a> { pub flags:u8,pub priority:u8,pub expires_ms:u64,pub extra_head:&'a [u8] }
pub struct OwnedPatch { pub flags:u8,pub priority:u8,pub expires_ms:u64,pub extra_head:bytes::Bytes }
pub struct OwnedMessage { pub wire:u8,pub flags:u8,pub priority:u8,pub origin:u64,pub serial:u64,pub timestamp_ms:u64,pub expires_ms:u64,pub payload:bytes::Bytes,pub head_len:u32,pub patch:Option<OwnedPatch> }
pub struct SubscriptionDefinition { pub id:SubscriptionId,pub topic:DestinationId,pub client_id:String,pub name:String,pub selector:Option<String>,pub no_local:bool,pub start:u64 }
#[derive(Debug, thiserror::Error)] #[non_exhaustive] pub enum StoreError { #[error("full")] Full, #[error("dead {reason}")] Dead{reason:String} }
pub struct Batch<'a>(&'a ());
impl Batch<'_> { pub fn add(&mut self,_:&[(DestinationId,u64)],_:&StoredMessage<'_>)->Locator{unimplemented!()} pub fn place(&mut self,_:&[(DestinationId,u64)],_:Locator,_:&Patch<'_>)->Locator{unimplemented!()}
 pub fn remove(&mut self,_:DestinationId,_:&[(u64,Locator)]){} pub fn redelivered(&mut self,_:DestinationId,_:u64,_:Locator,_:u16){} pub fn define_destination(&mut self,_:DestinationId,_:u8,_:&str){} pub fn define_subscription(&mut self,_:&SubscriptionDefinition){} pub fn drop_subscription(&mut self,_:SubscriptionId){} pub fn acknowledge(&mut self,_:SubscriptionId,_:Option<u64>,_:&[u64]){} pub fn transaction<R>(&mut self,f:impl FnOnce(&mut Batch<'_>)->R)->R{f(self)} }
pub trait Disk: Send+Sync{} pub struct RealDisk; impl Disk for RealDisk{}
#[derive(Default,Clone,Debug)] pub struct StoreConfig { pub segment_bytes:u32, pub first_segment_bytes:u32, pub checkpoint_interval: Duration }
#[non_exhaustive] pub enum SyncEvent { Synced(Ticket,Locator), Failed(String), Full(String), Room }
pub struct RecoveredEntry { pub sequence:u64,pub at:Locator,pub size:u32,pub redeliveries:u16,pub flags:u8 }
pub struct RecoveredDestination { pub id:DestinationId,pub kind:u8,pub name:String,pub next_sequence:u64,pub entries:Vec<RecoveredEntry> }
pub struct RecoveredSubscription { pub definition:SubscriptionDefinition,pub through:u64,pub exceptions:Vec<u64> }
#[derive(Debug)] pub struct RecoveryReport { pub warnings: Vec<String> }
pub struct Recovered { pub epoch:u64,pub clean:bool,pub destinations:Vec<RecoveredDestination>,pub subscriptions:Vec<RecoveredSubscription>,pub report:RecoveryReport }
pub struct Store;
impl Store { pub fn open(_:Arc<dyn Disk>,_:&Path,_:StoreConfig,_:Box<dyn Fn(SyncEvent)+Send+Sync>)->Result<(Store,Recovered),StoreError>{Err(StoreError::Full)}
 pub fn append<R>(&self,f:impl FnOnce(&mut Batch<'_>)->R)->Result<(R,Ticket),StoreError>{Err(StoreError::Full)} pub fn synced(&self)->Ticket{Ticket(0)} pub fn durable_through(&self)->Option<Locator>{None}
 pub fn read(&self,_:Locator)->Result<Option<OwnedMessage>,StoreError>{Ok(None)} pub fn read_many(&self,_:&[Locator],_:&mut Vec<Option<OwnedMessage>>)->Result<(),StoreError>{Ok(())} pub fn shutdown(&self)->Result<(),StoreError>{Ok(())} }
