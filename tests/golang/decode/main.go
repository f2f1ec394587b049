// Reads map responses, one JSON value a line, and decodes each as the official client does. Whatever it would drop a map for is an
// error here. The last line is "N decoded, M failed".
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"tailscale.com/tailcfg"
)

// decode fails when the client would, or when what it makes of the map cannot be sent on (as tailscaled does to its GUI).
func decode(line []byte) error {
	var m tailcfg.MapResponse
	if err := json.Unmarshal(line, &m); err != nil {
		return err
	}
	if len(m.Peers)+len(m.PeersChanged)+len(m.PeersChangedPatch) == 0 {
		return fmt.Errorf("no peers in it")
	}
	for _, p := range append(m.Peers, m.PeersChanged...) {
		if p.Name == "" || len(p.Addresses) == 0 || p.Key.IsZero() {
			return fmt.Errorf("a peer without name, address or key")
		}
		// tailscaled 1.102 panics of it when it is asked for its status.
		if !p.Hostinfo.Valid() {
			return fmt.Errorf("a peer without Hostinfo")
		}
	}
	_, err := json.Marshal(&m)
	return err
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	decoded, failed := 0, 0
	for {
		line, err := in.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if why := decode(line); why != nil {
				failed++
				if failed <= 5 {
					fmt.Printf("%v: %.2000s\n", why, line)
				}
			} else {
				decoded++
			}
		}
		if err != nil {
			break
		}
	}
	fmt.Printf("%d decoded, %d failed\n", decoded, failed)
	if failed > 0 || decoded == 0 {
		os.Exit(1)
	}
}
