// Command clients makes the calls of gophercloud and of Terraform's OpenStack provider that a test asks for, and prints what they read.
//
// Each line of the standard input is a request, each line of the standard output its answer, both JSON:
//
//	{"noun": "listener", "do": "create", "fields": {...}}     -> {"read": {...}} or {"error": "..."}
//	{"terraform": "openstack_lb_listener_v2", "plan": {...}}  -> {"state": {...}, "changes": {...}} or {"error": "..."}
//
// Where the cloud is, and as whom to ask, is taken from the OS_ variables, as those clients do.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

const timeout = 2 * time.Minute

type request struct {
	Noun   string          `json:"noun"`
	Do     string          `json:"do"`
	Parent string          `json:"parent"`
	ID     string          `json:"id"`
	Fields json.RawMessage `json:"fields"`

	Terraform string         `json:"terraform"`
	Name      string         `json:"name"`
	Plan      map[string]any `json:"plan"`
}

func main() {
	clients, err := connect(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	asked := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := asked.ReadBytes('\n')
		if err != nil {
			return
		}
		if err := answers.Encode(clients.answer(line)); err != nil {
			return
		}
	}
}

func (c *clients) answer(line []byte) map[string]any {
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return map[string]any{"error": err.Error()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if asked.Terraform != "" {
		return c.terraform.answer(ctx, asked)
	}
	read, err := c.call(ctx, asked)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return map[string]any{"read": shown(read)}
}
