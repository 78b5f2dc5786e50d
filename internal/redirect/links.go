package redirect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// LinkEvents is who is told of the node's network interfaces.
type LinkEvents interface {
	// LinkUp tells of an interface, its hardware address if it has one of its own,
	// and when it came. The zero time means that it was there before anybody looked.
	LinkUp(index int, hardware string, at time.Time)
	// LinkDown tells that an interface is gone, and all that was known of it.
	LinkDown(index int)
	// RoutesChanged tells that addresses may be behind other interfaces now.
	RoutesChanged()
}

// quietProbe is how often FollowLinks makes sure that no event waits for it.
const quietProbe = 250 * time.Millisecond

// linkPause is how long FollowLinks waits when the kernel cannot be asked.
const linkPause = 500 * time.Millisecond

// FollowLinks tells of every network interface that there is, with the zero
// time, calls ready, and then tells of each that comes and goes, at once, until
// ctx ends; that is no error. An interface that gets another hardware address is
// one that goes and another that comes: an index alone is no identity. A bridge
// is told without, since it takes that of one of its ports. Where events were
// lost, it lists again and tells what differs.
//
// It asks the network namespace of the calling thread.
func FollowLinks(ctx context.Context, to LinkEvents, ready func(), log *slog.Logger) error {
	f := &linkFollower{to: to, ready: ready}
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // its socket was closed for that
		}
		if errors.Is(err, unix.ENOBUFS) {
			log.DebugContext(ctx, "events of network interfaces were lost: listing them again")
			continue
		}
		log.WarnContext(ctx, "network interfaces cannot be followed: trying again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(linkPause):
		}
	}
}

// linkFollower remembers what was told.
type linkFollower struct {
	to    LinkEvents
	ready func()

	known map[int]string // hardware address by index; nil before the first list
	// quiet is when there was no event to be read, as far as is known: what is read
	// next happened after that. It is a little ago, and longer where this process
	// gets no processor: a link must not seem younger than the pod behind it.
	quiet time.Time
}

// follow lists the interfaces and tells of changes until ctx ends or events are
// lost.
func (f *linkFollower) follow(ctx context.Context) error {
	events, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_ROUTE-1)})
	if err != nil {
		return fmt.Errorf("open a netlink socket to the links: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = events.Close() }) // ends Receive
	defer func() {
		if stop() {
			_ = events.Close() // only read from
		}
	}()
	raw, err := events.SyscallConn()
	if err != nil {
		return fmt.Errorf("the netlink socket to the links: %w", err)
	}
	if f.known == nil {
		f.quiet = time.Now()
	}
	// The list comes after the subscription: what happens in between is told by
	// both, and the second telling changes nothing.
	if err := f.list(); err != nil {
		return err
	}
	for {
		if err := errors.Join(f.probe(raw), events.SetReadDeadline(time.Now().Add(quietProbe))); err != nil {
			return fmt.Errorf("wait for events of links: %w", err)
		}
		messages, err := events.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive events of links: %w", err)
		}
		f.events(messages)
	}
}

// probe looks, without waiting, whether there is an event to be read.
func (f *linkFollower) probe(raw syscall.RawConn) error {
	var err error
	now := time.Now()
	failed := raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	if errors.Is(err, unix.EAGAIN) {
		f.quiet, err = now, nil
	}
	return errors.Join(failed, err) // the loss of events is told once, here or to Receive
}

// list tells how the interfaces that there are differ from those told.
func (f *linkFollower) list() error {
	links, err := listLinks()
	if err != nil {
		return err
	}
	at := f.quiet
	if f.known == nil {
		f.known, at = make(map[int]string), time.Time{}
		defer f.ready()
	}
	for _, index := range slices.Sorted(maps.Keys(f.known)) {
		if _, there := links[index]; !there {
			f.down(index)
		}
	}
	for _, index := range slices.Sorted(maps.Keys(links)) {
		f.found(index, links[index], at)
	}
	f.to.RoutesChanged() // those that came while nobody looked
	return nil
}

func (f *linkFollower) events(messages []netlink.Message) {
	routes := false
	for _, m := range messages {
		switch m.Header.Type {
		case unix.RTM_NEWLINK:
			index, hardware, ok := parseLink(m)
			if before, there := f.known[index]; ok && (!there || before != hardware) {
				f.known[index] = hardware // one that changes is the same interface
				f.to.LinkUp(index, hardware, f.quiet)
			}
		case unix.RTM_DELLINK:
			if index, _, ok := parseLink(m); ok {
				f.down(index)
			}
		case unix.RTM_NEWROUTE:
			routes = true
		default: // nothing of ours
		}
	}
	if routes {
		f.to.RoutesChanged()
	}
}

// found is told of an interface that a list names: one that has another hardware
// address than before may be another, where its end was not told of.
func (f *linkFollower) found(index int, hardware string, at time.Time) {
	before, there := f.known[index]
	if there && before == hardware {
		return
	}
	if there {
		f.down(index)
	}
	f.known[index] = hardware
	f.to.LinkUp(index, hardware, at)
}

func (f *linkFollower) down(index int) {
	if _, there := f.known[index]; there {
		delete(f.known, index)
		f.to.LinkDown(index)
	}
}

// listLinks returns the hardware address of every interface, by index.
func listLinks() (map[int]string, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to the links: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing was written
	messages, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, unix.SizeofIfInfomsg),
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := make(map[int]string, len(messages))
	for _, m := range messages {
		if index, hardware, ok := parseLink(m); ok {
			links[index] = hardware
		}
	}
	return links, nil
}

// parseLink reads the index and the hardware address of an interface. What is
// told of an interface as a port of a bridge has another family, and is none of
// our business: a port that leaves its bridge is still there.
func parseLink(m netlink.Message) (index int, hardware string, ok bool) {
	if len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] != unix.AF_UNSPEC {
		return 0, "", false
	}
	index = int(binary.NativeEndian.Uint32(m.Data[4:8])) // ifi_index
	attributes, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return 0, "", false
	}
	named := false // what tells no name tells of something else than the interface
	kind := ""
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_ADDRESS:
			hardware = net.HardwareAddr(attributes.Bytes()).String()
		case unix.IFLA_IFNAME:
			named = true
		case unix.IFLA_LINKINFO:
			attributes.Nested(func(info *netlink.AttributeDecoder) error {
				kind = linkKind(info)
				return nil
			})
		}
	}
	if kind == "bridge" {
		hardware = "" // it is that of one of its ports, and changes with them
	}
	return index, hardware, named && attributes.Err() == nil
}

func linkKind(info *netlink.AttributeDecoder) (kind string) {
	for info.Next() {
		if info.Type() == unix.IFLA_INFO_KIND {
			kind = info.String()
		}
	}
	return kind
}
