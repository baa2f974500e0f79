//go:build linux

// Package powercut is a file system for tests that records every write and every sync, and
// makes the directory that a power cut would leave at any point of the record.
//
// The file system is in memory and mounted by FUSE, because the stores map files into memory,
// which a file system inside of the process could not see. Mounting takes root. The process
// that writes must not be the process that serves the file system: a page fault of the one
// would wait for the other.
//
// The model of a disk:
//
//   - a write, a change of length and a reserved range are durable after a sync of the file
//   - before that each of them is lost, kept, or torn into sectors of 512 bytes, independently
//     of the others
//   - creating, renaming and removing names happens in order. A sync of any file or directory
//     makes all earlier ones durable, as the journals of ext4 and XFS do. Later ones are kept
//     up to any point.
//
// The package does not model a disk that loses synced data, that returns from a sync too
// early, or that changes other sectors than those that are written.
package powercut

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const pageBytes = 4096

// Kinds of operations.
const (
	opMkdir = iota
	opCreate
	opRemove
	opRename
	opWrite
	opTruncate
	opSync
)

// op is one operation of the record.
type op struct {
	kind     int
	node     uint64 // the file or directory
	parent   uint64
	name     string
	toParent uint64
	toName   string
	at       int64 // offset of a write, or length of a truncate
	data     []byte
}

// Disk is a mounted file system with its record.
type Disk struct {
	server *fuse.Server
	mu     sync.Mutex // guards ops and the content of files
	ops    []op
	last   uint64 // number of the last node
}

// Mount mounts a new file system at dir. It takes root.
func Mount(dir string) (*Disk, error) {
	d := &Disk{last: 1}
	server, err := fs.Mount(dir, &node{disk: d, id: 1}, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "powercut", Name: "powercut"}})
	if err != nil {
		return nil, err
	}
	d.server = server
	return d, nil
}

// Unmount ends the file system. The record stays.
func (d *Disk) Unmount() error { return d.server.Unmount() }

// Len returns the number of recorded operations.
func (d *Disk) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

func (d *Disk) record(o op) { d.ops = append(d.ops, o) }

// node is a file or a directory.
type node struct {
	fs.Inode
	disk *Disk
	id   uint64
	data pages // of a file
}

// pages is the content of a file. Pages that are missing are zero.
type pages struct {
	size int64
	at   map[int64]*[pageBytes]byte
}

func (p *pages) write(b []byte, off int64) {
	if p.at == nil {
		p.at = make(map[int64]*[pageBytes]byte)
	}
	p.size = max(p.size, off+int64(len(b)))
	for len(b) > 0 {
		page := p.at[off/pageBytes]
		if page == nil {
			page = new([pageBytes]byte)
			p.at[off/pageBytes] = page
		}
		n := copy(page[off%pageBytes:], b)
		b, off = b[n:], off+int64(n)
	}
}

func (p *pages) read(b []byte, off int64) int {
	if off >= p.size {
		return 0
	}
	b = b[:min(int64(len(b)), p.size-off)]
	for at := 0; at < len(b); {
		pos := off + int64(at)
		rest := b[at:min(len(b), at+int(pageBytes-pos%pageBytes))]
		if page := p.at[pos/pageBytes]; page != nil {
			copy(rest, page[pos%pageBytes:])
		} else {
			clear(rest)
		}
		at += len(rest)
	}
	return len(b)
}

func (p *pages) truncate(size int64) {
	if size < p.size {
		for i, page := range p.at {
			switch {
			case i*pageBytes >= size:
				delete(p.at, i)
			case (i+1)*pageBytes > size:
				clear(page[size%pageBytes:])
			}
		}
	}
	p.size = size
}

func (p *pages) clone() pages {
	c := pages{size: p.size, at: make(map[int64]*[pageBytes]byte, len(p.at))}
	for i, page := range p.at {
		copied := *page
		c.at[i] = &copied
	}
	return c
}

func (n *node) child(ctx context.Context, name string, mode uint32, kind int) *fs.Inode {
	n.disk.last++
	c := &node{disk: n.disk, id: n.disk.last}
	n.disk.record(op{kind: kind, node: c.id, parent: n.id, name: name})
	return n.NewPersistentInode(ctx, c, fs.StableAttr{Mode: mode, Ino: c.id})
}

func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	out.Mode = fuse.S_IFREG | mode
	return n.child(ctx, name, fuse.S_IFREG, opCreate), nil, 0, 0
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	out.Mode = fuse.S_IFDIR | mode
	return n.child(ctx, name, fuse.S_IFDIR, opMkdir), 0
}

func (n *node) remove(name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.record(op{kind: opRemove, parent: n.id, name: name})
	return 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno { return n.remove(name) }

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	if c := n.GetChild(name); c != nil && len(c.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	return n.remove(name)
}

func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, toName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.record(op{kind: opRename, parent: n.id, name: name, toParent: to.EmbeddedInode().Operations().(*node).id, toName: toName})
	return 0
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	out.Size, out.Mode = uint64(n.data.size), 0o700
	out.Blocks = uint64(len(n.data.at)) * pageBytes / 512
	return 0
}

func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		n.truncate(int64(size))
	}
	return n.Getattr(ctx, h, out)
}

func (n *node) truncate(size int64) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.data.truncate(size)
	n.disk.record(op{kind: opTruncate, node: n.id, at: size})
}

func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	const keepSize = 1
	if mode&^keepSize != 0 {
		return syscall.ENOTSUP
	}
	if end := int64(off + size); mode == 0 && end > n.data.size {
		n.truncate(end)
	}
	return 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return fuse.ReadResultData(dest[:n.data.read(dest, off)]), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, b []byte, off int64) (uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.data.write(b, off)
	n.disk.record(op{kind: opWrite, node: n.id, at: off, data: append([]byte(nil), b...)})
	return uint32(len(b)), 0
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.record(op{kind: opSync, node: n.id})
	return 0
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = pageBytes, pageBytes, 255
	out.Blocks, out.Bfree, out.Bavail = 1<<28, 1<<28, 1<<28
	return 0
}

// Replay walks through the record of a disk and makes the directories that power cuts leave.
type Replay struct {
	disk  *Disk
	next  int                // operation that comes next
	files map[uint64]*pages  // durable content
	left  map[uint64][]op    // writes of a file since its last sync
	names map[uint64]*dirent // durable names
	moves []op               // changes of names since the last sync
}

// dirent is a directory with its durable names.
type dirent struct{ entries map[string]uint64 }

// NewReplay returns a replay at the beginning of the record.
func (d *Disk) NewReplay() *Replay {
	return &Replay{disk: d, files: make(map[uint64]*pages), left: make(map[uint64][]op), names: map[uint64]*dirent{1: {map[string]uint64{}}}}
}

// To moves forward to operation n: the first n operations have happened.
func (r *Replay) To(n int) {
	for ; r.next < n; r.next++ {
		o := r.disk.ops[r.next]
		switch o.kind {
		case opWrite, opTruncate:
			r.left[o.node] = append(r.left[o.node], o)
		case opSync:
			for _, w := range r.left[o.node] {
				apply(r.file(o.node), w)
			}
			delete(r.left, o.node)
			for _, m := range r.moves {
				move(r.names, m)
			}
			r.moves = nil
		default:
			r.moves = append(r.moves, o)
		}
	}
}

func (r *Replay) file(id uint64) *pages {
	if r.files[id] == nil {
		r.files[id] = new(pages)
	}
	return r.files[id]
}

func apply(p *pages, o op) {
	if o.kind == opTruncate {
		p.truncate(o.at)
	} else {
		p.write(o.data, o.at)
	}
}

func move(names map[uint64]*dirent, o op) {
	switch o.kind {
	case opMkdir:
		names[o.node] = &dirent{map[string]uint64{}}
		names[o.parent].entries[o.name] = o.node
	case opCreate:
		names[o.parent].entries[o.name] = o.node
	case opRemove:
		delete(names[o.parent].entries, o.name)
	case opRename:
		names[o.toParent].entries[o.toName] = names[o.parent].entries[o.name]
		delete(names[o.parent].entries, o.name)
	}
}

// Cut writes to dir what a power cut leaves at this point. random decides about the data that
// was not synced.
func (r *Replay) Cut(dir string, random *rand.Rand) error {
	names := make(map[uint64]*dirent, len(r.names))
	for id, d := range r.names {
		c := &dirent{make(map[string]uint64, len(d.entries))}
		for name, to := range d.entries {
			c.entries[name] = to
		}
		names[id] = c
	}
	for _, m := range r.moves[:random.IntN(len(r.moves)+1)] {
		move(names, m)
	}
	mode := random.IntN(3) // nothing is kept, everything is kept, or each write by itself
	return r.write(dir, 1, names, mode, random)
}

func (r *Replay) write(dir string, id uint64, names map[uint64]*dirent, mode int, random *rand.Rand) error {
	for _, name := range slices.Sorted(maps.Keys(names[id].entries)) {
		child := names[id].entries[name]
		path := filepath.Join(dir, name)
		if names[child] != nil {
			if err := os.Mkdir(path, 0o700); err != nil {
				return err
			}
			if err := r.write(path, child, names, mode, random); err != nil {
				return err
			}
			continue
		}
		content := r.file(child)
		if left := r.left[child]; len(left) > 0 && mode != 0 {
			c := content.clone()
			for _, o := range left {
				tear(&c, o, mode, random)
			}
			content = &c
		}
		if err := content.store(path); err != nil {
			return err
		}
	}
	return nil
}

const sectorBytes = 512

// tear applies an operation that was not synced: all of it, a part, or nothing.
func tear(p *pages, o op, mode int, random *rand.Rand) {
	choice := random.IntN(3)
	switch {
	case mode == 1 || choice == 1:
		apply(p, o)
	case choice == 0 || o.kind == opTruncate:
	default:
		for at := int64(0); at < int64(len(o.data)); {
			n := min(int64(len(o.data)), at+sectorBytes-(o.at+at)%sectorBytes)
			if random.IntN(2) == 0 {
				p.write(o.data[at:n], o.at+at)
			}
			at = n
		}
	}
}

func (p *pages) store(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(p.size); err != nil {
		return err
	}
	zero := [pageBytes]byte{}
	for i, page := range p.at {
		if *page == zero {
			continue
		}
		if _, err := f.WriteAt(page[:min(pageBytes, p.size-i*pageBytes)], i*pageBytes); err != nil {
			return err
		}
	}
	return nil
}
