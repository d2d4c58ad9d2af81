from calicopy.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BlockState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BLOCK_STATE_UNSPECIFIED: _ClassVar[BlockState]
    BLOCK_STATE_PENDING: _ClassVar[BlockState]
    BLOCK_STATE_CONFIRMED: _ClassVar[BlockState]
    BLOCK_STATE_LOST: _ClassVar[BlockState]
    BLOCK_STATE_RESERVED: _ClassVar[BlockState]
    BLOCK_STATE_RETIRING: _ClassVar[BlockState]
BLOCK_STATE_UNSPECIFIED: BlockState
BLOCK_STATE_PENDING: BlockState
BLOCK_STATE_CONFIRMED: BlockState
BLOCK_STATE_LOST: BlockState
BLOCK_STATE_RESERVED: BlockState
BLOCK_STATE_RETIRING: BlockState

class ListPoolsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoolsResponse(_message.Message):
    __slots__ = ("pools",)
    POOLS_FIELD_NUMBER: _ClassVar[int]
    pools: _containers.RepeatedCompositeFieldContainer[Pool]
    def __init__(self, pools: _Optional[_Iterable[_Union[Pool, _Mapping]]] = ...) -> None: ...

class Pool(_message.Message):
    __slots__ = ("name", "cidr", "block_size", "encapsulation", "mode", "nat_outgoing", "selected", "total_blocks", "own_blocks", "reserved_blocks")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CIDR_FIELD_NUMBER: _ClassVar[int]
    BLOCK_SIZE_FIELD_NUMBER: _ClassVar[int]
    ENCAPSULATION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    NAT_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    SELECTED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    OWN_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    cidr: str
    block_size: int
    encapsulation: str
    mode: str
    nat_outgoing: bool
    selected: bool
    total_blocks: int
    own_blocks: int
    reserved_blocks: int
    def __init__(self, name: _Optional[str] = ..., cidr: _Optional[str] = ..., block_size: _Optional[int] = ..., encapsulation: _Optional[str] = ..., mode: _Optional[str] = ..., nat_outgoing: _Optional[bool] = ..., selected: _Optional[bool] = ..., total_blocks: _Optional[int] = ..., own_blocks: _Optional[int] = ..., reserved_blocks: _Optional[int] = ...) -> None: ...

class ListBlocksRequest(_message.Message):
    __slots__ = ("include_reserved",)
    INCLUDE_RESERVED_FIELD_NUMBER: _ClassVar[int]
    include_reserved: bool
    def __init__(self, include_reserved: _Optional[bool] = ...) -> None: ...

class ListBlocksResponse(_message.Message):
    __slots__ = ("blocks",)
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    def __init__(self, blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("cidr", "pool", "node", "state", "pinned", "size", "assigned", "conflict")
    CIDR_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_FIELD_NUMBER: _ClassVar[int]
    cidr: str
    pool: str
    node: str
    state: BlockState
    pinned: bool
    size: int
    assigned: int
    conflict: _types_pb2.Reason
    def __init__(self, cidr: _Optional[str] = ..., pool: _Optional[str] = ..., node: _Optional[str] = ..., state: _Optional[_Union[BlockState, str]] = ..., pinned: _Optional[bool] = ..., size: _Optional[int] = ..., assigned: _Optional[int] = ..., conflict: _Optional[_Union[_types_pb2.Reason, _Mapping]] = ...) -> None: ...

class ListAddressesRequest(_message.Message):
    __slots__ = ("address", "handle")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    address: str
    handle: str
    def __init__(self, address: _Optional[str] = ..., handle: _Optional[str] = ...) -> None: ...

class ListAddressesResponse(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedCompositeFieldContainer[Address]
    def __init__(self, addresses: _Optional[_Iterable[_Union[Address, _Mapping]]] = ...) -> None: ...

class Address(_message.Message):
    __slots__ = ("address", "block", "pool", "handle", "sequence", "node", "state", "conflict")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_FIELD_NUMBER: _ClassVar[int]
    address: str
    block: str
    pool: str
    handle: str
    sequence: int
    node: str
    state: str
    conflict: _types_pb2.Reason
    def __init__(self, address: _Optional[str] = ..., block: _Optional[str] = ..., pool: _Optional[str] = ..., handle: _Optional[str] = ..., sequence: _Optional[int] = ..., node: _Optional[str] = ..., state: _Optional[str] = ..., conflict: _Optional[_Union[_types_pb2.Reason, _Mapping]] = ...) -> None: ...

class AssignAddressRequest(_message.Message):
    __slots__ = ("handle", "family", "pool", "address")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    handle: str
    family: _types_pb2.Family
    pool: str
    address: str
    def __init__(self, handle: _Optional[str] = ..., family: _Optional[_Union[_types_pb2.Family, str]] = ..., pool: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class AssignAddressResponse(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: Address
    def __init__(self, address: _Optional[_Union[Address, _Mapping]] = ...) -> None: ...

class ReleaseAddressRequest(_message.Message):
    __slots__ = ("handle", "sequence")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    handle: str
    sequence: int
    def __init__(self, handle: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class ReleaseAddressResponse(_message.Message):
    __slots__ = ("released",)
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    released: _containers.RepeatedCompositeFieldContainer[Address]
    def __init__(self, released: _Optional[_Iterable[_Union[Address, _Mapping]]] = ...) -> None: ...

class ReleaseBlockRequest(_message.Message):
    __slots__ = ("cidr",)
    CIDR_FIELD_NUMBER: _ClassVar[int]
    cidr: str
    def __init__(self, cidr: _Optional[str] = ...) -> None: ...

class ReleaseBlockResponse(_message.Message):
    __slots__ = ("block",)
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    block: Block
    def __init__(self, block: _Optional[_Union[Block, _Mapping]] = ...) -> None: ...
